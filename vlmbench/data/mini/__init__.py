"""Built-in stand-ins of the six tasks: small pictures that packages ship or this code draws.

Every row has the columns of its data set on the hub, so that the same task file reads it. A scene
is one picture (or one set) with all its questions; it depends on task, part and number alone.
Nothing that is read or asked for in the "test" part occurs in the "train" part: words, values,
fonts and layouts are divided between them.
"""

from __future__ import annotations

from vlmbench.data.mini.scenes import NUM_SCENES, TASKS, Part, scene

__all__ = ["NUM_SCENES", "TASKS", "Part", "scene"]
