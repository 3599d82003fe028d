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

MAX_BYTES = 2**28
"""Of a workbook, unpacked."""

MIN_BOMB, MAX_RATIO = 2**23, 100
"""A workbook above this size is not packed to a hundredth of it: text of answers to a tenth."""

MAX_GAP, MAX_COLUMNS, MAX_CELLS = 10_000, 2_000, 20_000_000

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
            _check_size(archive)
        rows = _first_sheet(path) if is_workbook else []
    except VlmbenchError as error:
        raise VlmbenchError(f"{path}: {error}") from None
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
        return list(_bounded(sheet.iter_rows(values_only=True)))


def _check_size(archive: zipfile.ZipFile) -> None:
    """Raises: VlmbenchError for a small archive that takes minutes and gigabytes to read."""
    parts = archive.infolist()
    size, stored = sum(part.file_size for part in parts), sum(part.compress_size for part in parts)
    if size > MAX_BYTES or (size > MIN_BOMB and size > MAX_RATIO * stored):
        raise VlmbenchError(
            f"its {stored:,} bytes unpack to {size:,}: no sheet of answers is like that"
        )


def _bounded(rows: Iterator[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """The rows without empty cells at their ends.

    Raises: VlmbenchError where a row or a cell stands far from all others: what lies between would
    be read as empty cells without end.
    """
    num_cells = num_empty = 0
    for row in rows:
        width = next((n for n in range(len(row), 0, -1) if row[n - 1] is not None), 0)
        num_empty = 0 if width else num_empty + 1
        num_cells += max(len(row), 1)
        if num_empty > MAX_GAP or len(row) > MAX_COLUMNS or num_cells > MAX_CELLS:
            raise VlmbenchError(
                f"rows or columns far from all others, or more than {MAX_CELLS:,} cells: it is no "
                "sheet of answers"
            )
        yield row[:width]


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
