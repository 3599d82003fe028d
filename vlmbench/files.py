"""Files of results: lines of JSON, and outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import msgspec

from vlmbench.errors import VlmbenchError

T = TypeVar("T")

MAX_DIGITS = 4000
"""Digits of a whole number that Python reads without complaint."""

MAX_NAME = 100
"""Characters of a `slug`: file systems take 255 bytes, and endings come on top."""


def encode(record: object) -> bytes:
    """One line of JSON for a mapping or a dataclass, in UTF-8; lone surrogates are escaped."""
    try:
        return msgspec.json.encode(record) + b"\n"
    except (UnicodeEncodeError, OverflowError):  # an id of more than 64 bits
        return json.dumps(msgspec.to_builtins(record), separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Any:
    """The value of a line of JSON. Raises: ValueError where it is none."""
    return decode_as(line, object)


def decode_as(line: bytes, kind: type[T]) -> T:
    """The value of a line of JSON as a typed one; keys that `kind` does not have are passed over.

    Raises: ValueError where the line is no JSON, or where a value is missing or of another type.
    """
    try:
        value: T = _decoder(cast(Hashable, kind)).decode(line)
        return value
    except (msgspec.DecodeError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError) and "out of range" not in str(error):
            raise
        # lone surrogates, NaN, and numbers of hundreds of digits: Python's parser has them
        try:
            return msgspec.convert(json.loads(line, parse_int=_whole), kind)
        except RecursionError:
            raise ValueError("lists or objects nested too deeply") from None


MOST = 10**18
"""Above any count, time or size that a log can hold."""


def is_figure(value: object) -> bool:
    """True for a count, a time or a size: a number from 0 on, finite and not absurd."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < MOST  # type: ignore[operator]


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < MAX_DIGITS else float(digits)


@cache
def _decoder(kind: Hashable) -> Any:
    return msgspec.json.Decoder(kind)


def opened(path: Path) -> BufferedReader:
    """A file on disk, to be read. Raises: VlmbenchError where it cannot be, or is a pipe or device.

    Opening a pipe would wait for its writer, and a device may have no end.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise VlmbenchError(f"cannot read {path}: it is no file on disk")
    return file


MAX_JSON = 2**28
"""Bytes of a file that is read whole as JSON."""


def json_of(path: Path) -> Any:
    """The value of a JSON file.

    Raises: VlmbenchError where it cannot be read; ValueError where it is too large, or no JSON.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_JSON:
            raise ValueError(f"it has {size:,} bytes, and {MAX_JSON:,} at most are read")
        content = file.read()
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("lists or objects nested too deeply") from None


def own_file(path: Path, flags: int) -> int:
    """A descriptor of a file in a folder of ours, made where it is not there.

    Raises: OSError where the name is a link, a pipe, a device or a folder, or the file has a
    second name (a hard link): what is written there would end in somebody else's file.
    """
    made = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | made, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a pipe that nobody reads
            raise _foreign(path) from None
        raise
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)
        raise _foreign(path)
    return fd


def new_file(path: Path) -> BinaryIO:
    """A file of ours to be written from its beginning; a link of that name is not followed."""
    path.unlink(missing_ok=True)  # what a killed process left
    return path.open("xb")


def _foreign(path: Path) -> OSError:
    why = f"{path.name} is a link, a pipe or a device there; remove it, or name another folder"
    return OSError(errno.EPERM, why, str(path))


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


def slug(text: str) -> str:
    """A file's name that is like the text: at most 100 letters, digits and any of - _ and dot."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text).strip("-")[:MAX_NAME]


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
