"""A run's scores file: one line a sample, in the order of ids, whatever order they came in."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from vlmbench import files
from vlmbench.files import writing
from vlmbench.schema import Json

VERSION = 2
"""Of a record's keys; 2 added the cluster, what each profile could not parse, and `breakdown`."""


class ScoresFile:
    """Takes records in any order; the file appears whole, and sorted, when the block ends well.

    Memory holds the ids, not the lines.

    Raises: VlmbenchError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._unsorted = path.with_name(f".{path.name}.{os.getpid()}.unsorted")
        self._places: list[tuple[str, int, int]] = []
        self._size = 0
        self._is_wanted = True

    def __enter__(self) -> ScoresFile:
        with self._writing():
            self._file = self._unsorted.open("wb")
        return self

    def add(self, record: Mapping[str, Json]) -> None:
        line = files.encode(record)
        with self._writing():
            self._file.write(line)
        self._places.append((natural(str(record["id"])), self._size, len(line)))
        self._size += len(line)

    def discard(self) -> None:
        """Leave no file."""
        self._is_wanted = False

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._writing():
                self._file.close()
                if kind is None and self._is_wanted:
                    self._sort()
        finally:
            for path in (self._unsorted, self._partial):
                path.unlink(missing_ok=True)

    def _sort(self) -> None:
        with self._partial.open("wb") as output:
            if self._size:
                with (
                    self._unsorted.open("rb") as file,
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines,
                ):
                    for _, start, length in sorted(self._places):
                        output.write(lines[start : start + length])
        self._partial.replace(self._path)

    def _writing(self) -> AbstractContextManager[None]:
        safe = "everything answered is safe, the same command goes on"
        return writing(self._path, "scores", safe)


def natural(id: str) -> str:
    """A key that sorts runs of digits by value: a2 before a10."""
    return re.sub(r"[0-9]+", lambda digits: f"{len(digits[0]):04}{digits[0]}", id)
