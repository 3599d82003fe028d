"""The user's mistakes: each is one line that says what is wrong and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_NAMED = 50
"""Known names that a message lists."""


class VlmbenchError(Exception):
    """Something the user can mend. The command prints it without a traceback and exits with 2."""


def no_such(kind: str, name: str, known: Iterable[str], where: str = "") -> VlmbenchError:
    """The error for an unknown name: the known names that look like it, or the first of all."""
    names = {known_name.lower(): known_name for known_name in sorted(known)}
    near = nearest(name, names.values())
    near = near or [names[one] for one in names if len(name) > 2 and name.lower() in one][:3]
    shown = [*names.values()][:MAX_NAMED]
    shown += [f"and {len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(shown)}"
    return VlmbenchError(f"no {kind} named {name!r}{where and ' ' + where}; {hint}")


def nearest(name: str, known: Iterable[str], most: int = 3, likeness: float = 0.6) -> list[str]:
    """The known names that look like a misspelt one, whatever their case; the likest first."""
    names = {known_name.lower(): known_name for known_name in known}
    near = difflib.get_close_matches(name.lower(), names, n=most, cutoff=likeness)
    return [names[one] for one in near]
