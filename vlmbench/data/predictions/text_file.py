"""Reading of UTF-8 text, by lines or whole, with errors that name the line and the byte."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from vlmbench import files
from vlmbench.errors import VlmbenchError


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, each with its number from 1; read one at a time."""
    with files.opened(path) as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                yield number, line.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, error) from None


def whole(path: Path) -> str:
    with files.opened(path) as file:
        data = file.read().removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(path, data.count(b"\n", 0, error.start) + 1, error) from None


def _not_utf8(path: Path, number: int, error: UnicodeDecodeError) -> VlmbenchError:
    byte = error.object[error.start]
    column = error.start - error.object.rfind(b"\n", 0, error.start)
    return VlmbenchError(
        f"{path}:{number}: not UTF-8: byte {column} of the line is 0x{byte:02x}; save it as UTF-8"
    )
