"""Tables for a terminal, and cells of tables for other programs."""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

MAX_WIDTH = 60
"""Characters of a free text in a terminal's table; JSON and CSV have it whole."""

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""What text begins with that a spreadsheet would run as a formula."""

NO_TERMINAL_WIDTH = 100
"""Columns of a table that no terminal shows, unless COLUMNS says another number."""

MIN_NAME_WIDTH = 18
"""Columns that the name of a row keeps in any terminal."""

GAP = "  "


class Cell(NamedTuple):
    """A cell of a terminal's table: lines, of which all but the first are set back."""

    lines: tuple[str, ...] = ()
    is_strong: bool = False


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], num_left: int = 1) -> str:
    """Columns padded to one width; the first `num_left` flush left, the others flush right."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if column < num_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def fitted(
    header: Sequence[Cell], rows: Sequence[Sequence[Cell]], *, width: int, is_coloured: bool = False
) -> str:
    """A table no wider than `width`: names flush left and wrapped, the other columns flush right.

    What does not fit stands in further blocks below, each with the names of the rows that have
    something in it.
    """
    table = [header, *rows]
    widths = [_width_of(row[column] for row in table) for column in range(len(header))]
    if sum(widths) + len(GAP) * (len(widths) - 1) > width:
        widths[0] = min(widths[0], max(MIN_NAME_WIDTH, width // 3))
    room = width - widths[0] - len(GAP)
    widths[1:] = [min(one, max(room, 1)) for one in widths[1:]]
    blocks: list[list[int]] = [[]]
    left = room
    for column in range(1, len(header)):
        if blocks[-1] and widths[column] > left:
            blocks.append([])
            left = room
        blocks[-1].append(column)
        left -= widths[column] + len(GAP)
    return "\n\n".join(_block(table, block, widths, is_coloured) for block in blocks)


def _width_of(cells: Any) -> int:
    return max((shown_width(line) for cell in cells for line in cell.lines), default=0)


def _block(
    table: Sequence[Sequence[Cell]], columns: Sequence[int], widths: Sequence[int], coloured: bool
) -> str:
    lines: list[str] = []
    for number, row in enumerate(table):
        if number and columns and not any(row[column].lines for column in columns):
            continue
        name = _wrapped(row[0].lines, widths[0])
        cells = [_wrapped(row[column].lines, widths[column]) for column in columns]
        height = max(len(name), *(len(cell) for cell in cells)) if cells else len(name)
        if number == 0:  # the names of columns stand on their values
            cells = [("",) * (height - len(cell)) + cell for cell in cells]
            name = ("",) * (height - len(name)) + name
        for index in range(height):
            parts = [_painted(_padded(name, index, -widths[0]), _code(number, 0, row[0]), coloured)]
            for column, cell in zip(columns, cells, strict=True):
                text = _padded(cell, index, widths[column])
                parts.append(_painted(text, _code(number, index, row[column]), coloured))
            lines.append(GAP.join(parts).rstrip())
    return "\n".join(lines)


def _padded(lines: Sequence[str], index: int, width: int) -> str:
    """A line of a cell, flush right; with a negative width flush left."""
    text = lines[index] if index < len(lines) else ""
    space = " " * max(0, abs(width) - shown_width(text))
    return text + space if width < 0 else space + text


BOLD, DIM = "1", "2"


def _code(row: int, line: int, cell: Cell) -> str:
    """The code of a line: bold in the header and where strong, dim below a cell's first line."""
    if row == 0:
        return BOLD
    return DIM if line else BOLD if cell.is_strong else ""


def _painted(text: str, code: str, is_coloured: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if is_coloured and code and text.strip() else text


def _wrapped(lines: Sequence[str], width: int) -> tuple[str, ...]:
    found: list[str] = []
    for line in lines:
        found += [line] if shown_width(line) <= width else _broken(line, width)
    return tuple(found)


def _broken(line: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces where there are some."""
    parts: list[str] = []
    for part in textwrap.wrap(line, width):
        while shown_width(part) > width:  # textwrap counts a wide character once
            end = len(part)
            while end > 1 and shown_width(part[:end]) > width:
                end -= 1
            parts.append(part[:end])
            part = part[end:]
        parts.append(part)
    return [part for part in parts if part]


def shown_width(text: str) -> int:
    """Columns of a terminal that a line takes: two for a wide character, none for an accent."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def terminal_width() -> int:
    """Columns of the terminal at stdout, or else at stderr; COLUMNS, where it is set, counts."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None and (found := os.get_terminal_size(stream.fileno()).columns) > 0:
                return found
        except (OSError, ValueError):
            continue
    return NO_TERMINAL_WIDTH


def takes_colours(stream: TextIO) -> bool:
    """True for a terminal that colours may be sent to (https://no-color.org)."""
    is_refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not is_refused


def shortened(text: str) -> str:
    """The text on one line, without control characters, which could move a terminal's cursor."""
    flat = printable(text)
    return flat if len(flat) <= MAX_WIDTH else f"{flat[: MAX_WIDTH - 3]}..."


def printable(text: str) -> str:
    """The text on one line, whole, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def csv_safe(value: Any) -> Any:
    """The cell's value; text that a spreadsheet would run as a formula after an apostrophe."""
    is_formula = isinstance(value, str) and value.startswith(FORMULA_SIGNS)
    return f"'{value}" if is_formula else value
