"""The live display of a run's progress, on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable

from vlmbench.runs.folder.responses import ResponseRecord
from vlmbench.runs.plan import Item
from vlmbench.terminal import raw

REFRESH_S = 0.25
LINE_S = 15.0
"""How often a line is printed where stderr is no terminal."""


class Progress:
    """Counts responses as they are logged; shows them while its `with` block runs."""

    def __init__(self, todo: Iterable[Item]) -> None:
        self._todo = Counter(item.task for item in todo)
        self._done: Counter[str] = Counter()
        self._num_failed = self._num_tokens = 0
        self._started = self._shown = time.monotonic()
        self._is_over = not self._todo
        self._is_terminal = sys.stderr.isatty()
        self._lines = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and not self._is_over:
            self._show()

    def watch(self, record: ResponseRecord | None) -> None:
        """Count a response, if there is one, and show all if it is time."""
        if record is not None:
            self._done[record.task] += 1
            self._num_tokens += int(record.generated_tokens or 0)
            self._num_failed += record.response is None
        if self._is_over:
            return
        now = time.monotonic()
        if self._done.total() >= self._todo.total():  # what comes after is no part of the rate
            self._show()
            self._is_over = True
        elif now - self._shown > (REFRESH_S if self._is_terminal else LINE_S):
            self._show()
            self._shown = now

    def _show(self) -> None:
        done, todo = self._done.total(), self._todo.total()
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = done / elapsed
        left = f"{_clock((todo - done) / rate)} left" if 0 < done < todo else _clock(elapsed)
        parts = [
            f"{done:,}/{todo:,} samples",
            f"{rate:.1f}/s",
            f"{self._num_tokens / elapsed:.0f} tokens/s",
        ]
        total = "  ".join([*parts, f"{self._num_failed:,} failed", left])
        tasks = [f"  {name}  {self._done[name]:,}/{count:,}" for name, count in self._todo.items()]
        if not self._is_terminal:
            print(f"vlmbench: {total}", file=sys.stderr)
            return
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        up = f"\x1b[{self._lines}F" if self._lines else ""
        lines = [total, *(tasks if len(tasks) > 1 else [])]
        text = "".join(f"{line[: width - 1]}\x1b[K\n" for line in lines)
        print(up + text, end="", file=raw(sys.stderr), flush=True)
        self._lines = len(lines)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
