"""The user's mistakes: each is one line that says what is wrong and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_NAMED = 50
"""Known names that a message lists."""


class VlmbenchError(Exception):
    """Something the user can mend. The command prints it without a traceback and exits with 2."""


HUB_STATUS = {
    401: "the hub refuses the token (401): log in again, or see HF_TOKEN",
    403: "the hub denies access (403): the repository is disabled, or not open to this account",
    429: "the hub limits the rate (429): try again in a few minutes, or log in",
}


def hub_reason(error: BaseException) -> str:
    """Why the hub gave nothing, in a line: by the HTTP status that its client's error holds."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status in HUB_STATUS:
            return HUB_STATUS[status]
        if isinstance(status, int) and status >= 500:
            return f"the hub fails (HTTP {status}): try again later"
        cause = cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


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
