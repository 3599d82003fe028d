"""Reading of xlsx and tsv sheets; text in a cell stays that text."""

from __future__ import annotations

import csv
import io
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from vlmbench.data.predictions import text_file
from vlmbench.errors import VlmbenchError

Cell: TypeAlias = "str | int | float | bool | None"

_ESCAPED = re.compile("_x(00[01][0-9A-Fa-f])_")
"""How xlsx writes a control character."""


@dataclass(frozen=True, slots=True)
class Sheet:
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, Cell]], ...]
    """Each with its number in the file from 1; None is an empty cell."""


def read_xlsx(path: Path) -> Sheet:
    """The first sheet of a workbook; text that looks like a number or a formula stays text."""
    try:
        with zipfile.ZipFile(path) as archive:
            is_workbook = "xl/workbook.xml" in archive.namelist()
        rows = _first_sheet(path) if is_workbook else []
    except Exception as error:  # openpyxl raises whatever a damaged part leads to
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise VlmbenchError(f"{path}: a damaged xlsx file ({reason})") from error
    if not is_workbook:
        raise VlmbenchError(f"{path}: a zip archive; unpack it and name the file inside")
    cells = ([_cell(value, f"{path}:{n}") for value in row] for n, row in enumerate(rows, 1))
    return _sheet(path, enumerate(cells, 1))


def _first_sheet(path: Path) -> list[tuple[object, ...]]:
    import openpyxl

    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles and extensions
        sheet = openpyxl.load_workbook(file, read_only=True).worksheets[0]
        sheet.reset_dimensions()  # some writers state a range that is too small
        return list(sheet.iter_rows(values_only=True))


def _cell(value: object, where: str) -> Cell:
    if isinstance(value, str):
        return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), value) if "_x00" in value else value
    if value is None or isinstance(value, bool | int | float):
        return value
    raise VlmbenchError(
        f"{where}: a cell holds a {type(value).__name__}, not text: a spreadsheet program has "
        "rewritten the file; score the original"
    )


def read_tsv(path: Path) -> Sheet:
    """A tab-separated file with a header; every cell is text, an empty one is None."""
    limit = csv.field_size_limit(sys.maxsize)  # a long response exceeds the default of 128 KiB
    try:
        return _sheet(path, _tsv_rows(path))
    finally:
        csv.field_size_limit(limit)


def _tsv_rows(path: Path) -> Iterator[tuple[int, list[Cell]]]:
    reader = csv.reader(io.StringIO(text_file.whole(path), newline=""), delimiter="\t", strict=True)
    start = 1
    try:
        for row in reader:
            yield start, [cell or None for cell in row]
            start = reader.line_num + 1
    except csv.Error as error:
        raise VlmbenchError(f"{path}:{start}: not tab-separated values: {error}") from None


def _sheet(path: Path, rows: Iterator[tuple[int, list[Cell]]]) -> Sheet:
    filled = ((number, row) for number, row in rows if any(cell is not None for cell in row))
    _, header = next(filled, (0, []))
    columns = [str(name) if name is not None else None for name in header]
    named = [name for name in columns if name is not None]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise VlmbenchError(f"{path}: two columns named {twice!r}")
    found = []
    for number, row in filled:
        if len(row) > len(columns) and any(cell is not None for cell in row[len(columns) :]):
            raise VlmbenchError(
                f"{path}:{number}: {len(row)} cells, but the header has {len(columns)}"
            )
        row += [None] * (len(columns) - len(row))
        pairs = zip(columns, row, strict=False)
        found.append((number, {name: cell for name, cell in pairs if name is not None}))
    return Sheet(tuple(named), tuple(found))
