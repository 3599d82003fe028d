"""Tables for a terminal, and cells of tables for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_WIDTH = 60
"""Characters of a free text in a terminal's table; JSON and CSV have it whole."""

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""What text begins with that a spreadsheet would run as a formula."""


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


def shortened(text: str) -> str:
    """The text on one line, without control characters, which could move a terminal's cursor."""
    flat = "".join(c if c.isprintable() else " " for c in text)
    flat = " ".join(flat.split())
    return flat if len(flat) <= MAX_WIDTH else f"{flat[: MAX_WIDTH - 3]}..."


def csv_safe(value: Any) -> Any:
    """The cell's value; text that a spreadsheet would run as a formula after an apostrophe."""
    is_formula = isinstance(value, str) and value.startswith(FORMULA_SIGNS)
    return f"'{value}" if is_formula else value
