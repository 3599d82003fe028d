"""What a user should know of a run's answers and did not ask for."""

from __future__ import annotations

import sys


class Notices:
    """Lines that are told on stderr as they come up, each of them once."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def tell(self, line: str) -> None:
        if line not in self._lines:
            self._lines[line] = None
            print(f"vlmbench: {line}", file=sys.stderr, flush=True)

    @property
    def lines(self) -> tuple[str, ...]:
        """All that were told, in their order: for `Probe.notices`."""
        return tuple(self._lines)
