"""What a user should know of a run's answers and did not ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable


class Notices:
    """Lines that are told as they come up, each of them once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def tell(self, line: str) -> None:
        line = " ".join(line.split())
        if line not in self._lines:
            self._lines[line] = None
            _tell(line)

    @property
    def lines(self) -> tuple[str, ...]:
        """All that were told, in their order: for `Probe.notices`."""
        return tuple(self._lines)


def hand_to(tell: Callable[[str], None]) -> None:
    """Have all notices of this process told so, and not on stderr: a worker has no terminal."""
    global _tell
    _tell = tell


def _on_stderr(line: str) -> None:
    print(f"vlmbench: {line}", file=sys.stderr, flush=True)


_tell: Callable[[str], None] = _on_stderr
