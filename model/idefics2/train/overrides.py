"""Settings of a recipe changed from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from idefics2.train.recipe import Recipe
from idefics2.train.recipe_loading import no_such


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with changed settings, each "key=value"; the value is read as JSON, else as text.

    A key is a path of fields, such as `seed` or `STAGE.optimization.schedule.floor`.

    Raises: ValueError for an unknown key, or a value of another type.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r} is not key=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        first, *rest = key.split(".")
        stages = {stage.name: index for index, stage in enumerate(recipe.stages)}
        if first in stages and rest:
            changed = list(recipe.stages)
            index = stages[first]
            changed[index] = _with(changed[index], rest, value, key)
            recipe = replace(recipe, stages=tuple(changed))
        elif first in ("seed", "keep", "name") and not rest:
            recipe = _with(recipe, [first], value, key)
        else:
            raise ValueError(no_such("setting", key, ["seed", "keep", *stages]))
    return recipe


def with_steps(recipe: Recipe, num_steps: int) -> Recipe:
    """The recipe with `num_steps` steps in every stage."""
    stages = (replace(stage, num_steps=num_steps) for stage in recipe.stages)
    return replace(recipe, stages=tuple(stages))


def _with(config: Any, path: list[str], value: Any, key: str) -> Any:
    known = {item.name: str(item.type) for item in fields(config) if item.init}
    if path[0] not in known:
        raise ValueError(no_such("setting", key, known))
    before, kinds = getattr(config, path[0]), known[path[0]]
    if len(path) > 1:
        if not is_dataclass(before):
            raise ValueError(f"{key}: {path[0]} has no settings of its own")
        value = _with(before, path[1:], value, key)
    else:
        value = _converted(value, kinds)
        if before is None or value is None:
            known_kinds = {kind.partition("[")[0] for kind in kinds.split(" | ")}
            fits = type(value).__name__.removesuffix("Type") in known_kinds
        else:
            fits = type(value) is type(before)
        if not fits:
            like = kinds if before is None else f"like {before!r}"
            raise ValueError(f"{key} must be {like}, not {value!r}")
    return replace(config, **{path[0]: value})


def _converted(value: Any, kinds: str) -> Any:
    """A JSON value as a field with that annotation holds it: tuples for lists, floats for ints."""
    if isinstance(value, list) and "tuple" in kinds:
        return tuple(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_whole and "float" in kinds else value
