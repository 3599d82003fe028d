"""Files that the user names for a result: each appears whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from vlmbench.errors import VlmbenchError
from vlmbench.runs import MANIFEST

OF_A_RUN = (MANIFEST, "responses-*.jsonl", "scores-*.jsonl", "usage-*.jsonl")
"""What a run's folder holds, which no result may replace."""


class OutputFile:
    """Takes bytes beside its place, and moves there when the block ends well; else they are gone.

    A link is written through, and a device or a pipe as it is: /dev/stdout may be any of them.

    Raises: VlmbenchError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        with writing(path):
            if not path.name or path.is_dir():
                raise VlmbenchError(f"--out takes a file, {path} is a folder")
            is_file = path.is_file() and not path.is_symlink()
            self._is_moved = is_file or not os.path.lexists(path)
        self._path = path
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._written = partial if self._is_moved else path

    def __enter__(self) -> OutputFile:
        with writing(self._path):
            self._file = self._written.open("wb")
        return self

    def write(self, content: bytes) -> None:
        with writing(self._path):
            self._file.write(content)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with writing(self._path):
                self._file.close()
                if kind is None and self._is_moved:
                    self._written.replace(self._path)
        finally:
            if self._is_moved:
                self._written.unlink(missing_ok=True)


def put(text: str, path: Path | None) -> None:
    """Write the text to the file, or print it where there is none."""
    if path is None:
        sys.stdout.write(text)
        return
    with OutputFile(path) as output:
        output.write(text.encode("utf-8", "backslashreplace"))


@contextmanager
def writing(path: Path, what: str = "", way_out: str = "") -> Iterator[None]:
    """Makes OSErrors of the block one line: cannot write WHAT to PATH: the reason; WAY OUT."""
    try:
        yield
    except OSError as error:
        name = f"{what} to {path}" if what else path
        raise VlmbenchError(
            f"cannot write {name}: {error.strerror}{way_out and '; ' + way_out}"
        ) from None


def is_of_a_run(path: Path) -> bool:
    """True for a file that a run's folder holds of that run."""
    real = Path(os.path.realpath(path))
    has_name = any(fnmatch(real.name, name) for name in OF_A_RUN)
    return has_name and os.access(real.parent / MANIFEST, os.F_OK)
