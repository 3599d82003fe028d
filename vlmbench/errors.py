"""The user's mistakes: each is one line that says what is wrong and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """The error for an unknown name: the known names that look like it, or all of them."""
    names = {known_name.lower(): known_name for known_name in sorted(known)}
    near = difflib.get_close_matches(name.lower(), names, n=3)
    near = near or [known_name for known_name in names if name and name.lower() in known_name][:3]
    likely = " or ".join(names[known_name] for known_name in near)
    hint = f"did you mean {likely}?" if near else f"there are: {', '.join(names.values())}"
    return VlmbenchError(f"no {kind} named {name!r}{where and ' ' + where}; {hint}")
