"""A run's progress, read from its log as it grows; and its live display on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from vlmbench import files

REFRESH_S = 0.25
LINE_S = 15.0
"""How often a line is printed where stderr is no terminal."""


class Progress:
    """Follows the response files of a folder from where they end now."""

    def __init__(self, folder: Path, todo: Mapping[str, int]) -> None:
        self._folder = folder
        self._todo = dict(todo)
        self.seen: dict[str, set[str]] = {name: set() for name in todo}
        """Task to the ids that were logged since the start, failed ones too."""

        self._offsets = {path: path.stat().st_size for path in folder.glob("responses-*.jsonl")}
        self._started = self._shown = time.monotonic()
        self._tokens = 0
        self._is_terminal = sys.stderr.isatty()
        self._lines = 0
        self.failed = 0

    def update(self) -> None:
        """Read what was logged since the last call, and show it if it is time."""
        for path in self._folder.glob("responses-*.jsonl"):
            self._follow(path)
        now = time.monotonic()
        if now - self._shown > (REFRESH_S if self._is_terminal else LINE_S):
            self._show()
            self._shown = now

    def finish(self) -> None:
        self.update()
        self._show()

    def _follow(self, path: Path) -> None:
        offset = self._offsets.get(path, 0)
        size = path.stat().st_size
        if size < offset:  # a torn line was cut off
            self._offsets[path] = size
        if size <= offset:
            return
        with path.open("rb") as file:
            file.seek(offset)
            block = file.read(size - offset)
        whole = block.rfind(b"\n") + 1
        self._offsets[path] = offset + whole
        for line in block[:whole].splitlines():
            try:
                record = files.decode(line)
            except ValueError:
                continue
            self.seen.setdefault(record["task"], set()).add(record["id"])
            self._tokens += record.get("generated_tokens") or 0
            self.failed += record.get("response") is None

    def _show(self) -> None:
        done, todo = sum(map(len, self.seen.values())), sum(self._todo.values())
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = done / elapsed
        left = f"{_clock((todo - done) / rate)} left" if 0 < done < todo else _clock(elapsed)
        parts = [
            f"{done:,}/{todo:,} samples",
            f"{rate:.1f}/s",
            f"{self._tokens / elapsed:.0f} tokens/s",
        ]
        total = "  ".join([*parts, f"{self.failed:,} failed", left])
        tasks = [
            f"  {name}  {len(self.seen[name]):,}/{count:,}" for name, count in self._todo.items()
        ]
        if not self._is_terminal:
            print(f"vlmbench: {total}", file=sys.stderr)
            return
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        up = f"\x1b[{self._lines}F" if self._lines else ""
        lines = [total, *(tasks if len(tasks) > 1 else [])]
        text = "".join(f"{line[: width - 1]}\x1b[K\n" for line in lines)
        print(up + text, end="", file=sys.stderr, flush=True)
        self._lines = len(lines)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
