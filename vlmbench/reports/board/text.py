"""The board as text that fits a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from vlmbench import tables
from vlmbench.reports import costs
from vlmbench.reports.board import columns, notes
from vlmbench.reports.board.columns import Mean
from vlmbench.reports.board.leaderboard import Board, Cell, Column, Row, Table
from vlmbench.reports.board.notes import UNVERIFIED
from vlmbench.tables import printable
from vlmbench.task.answer_marks import REMARKED


def as_text(
    board: Board,
    *,
    wanted: Sequence[str] = (),
    width: int | None = None,
    is_coloured: bool = False,
) -> str:
    """Tables no wider than `width` (default: the terminal's), and notes below them.

    `wanted`: names of columns, see `columns`; none: the usual ones.
    """
    width = width or tables.terminal_width()
    numbers = notes.numbers(board)
    parts: list[str] = []
    for table in board.tables:
        parts += [table.setting.title, ""]
        chosen = columns.of_table(table, wanted)
        parts += [_table(table, chosen, numbers, width, is_coloured), ""]
        parts += [line for text in _below(table, chosen) for line in _filled(text, width)] + [""]
    for title, sentences in notes.endnotes(board, numbers, notes.TEXT):
        parts += [title] if title != "How to read this" else []
        parts += [line for text in sentences for line in _filled(text, width)] + [""]
    return "\n".join(parts).rstrip() + "\n"


def _filled(text: str, width: int) -> list[str]:
    return textwrap.wrap(printable(text), width, subsequent_indent="  ", break_on_hyphens=False)


def _table(
    table: Table, chosen: Sequence[str], numbers: dict[str, int], width: int, is_coloured: bool
) -> str:
    found = [_column(table, name, numbers) for name in chosen if name != columns.SCORES]
    if columns.SCORES in chosen:
        place = list(chosen).index(columns.SCORES)
        found[place:place] = [_task_column(table, column, numbers) for column in table.columns]
    names = [printable(notes.title_of(row)) for row in table.rows]
    found.insert(0, [tables.Cell((text,)) for text in ("system", *names)])
    header, *rows = ([column[index] for column in found] for index in range(len(names) + 1))
    return tables.fitted(header, rows, width=width, is_coloured=is_coloured)


def _task_column(table: Table, column: Column, numbers: dict[str, int]) -> list[tables.Cell]:
    best = _best(table, column)
    cells = [_lines(table, column, row.cells.get(column), numbers) for row in table.rows]
    found = [
        tables.Cell(lines, is_strong=row is best)
        for row, lines in zip(table.rows, cells, strict=True)
    ]
    return [tables.Cell(_header(table, column)), *found]


def _column(table: Table, name: str, numbers: dict[str, int]) -> list[tables.Cell]:
    """Header and cells of a column that is no task's."""
    if name == columns.MEAN:
        lines = [_mean_lines(columns.mean(table, row)) for row in table.rows]
        return [tables.Cell(("mean",)), *map(tables.Cell, lines)]
    if name == columns.PARAMS:
        return [tables.Cell((text,)) for text in ("params", *map(notes.parameters, table.rows))]
    figure = costs.figure(name)
    values = [columns.cost(table, row, figure) for row in table.rows]
    cells = [
        "" if row.costs is None and value is None else costs.shown(figure, value)
        for row, value in zip(table.rows, values, strict=True)
    ]
    head = re.sub(r"/(?=..)", "/ ", figure.symbol).split()
    head += [figure.shown_unit] if figure.shown_unit else []
    return [tables.Cell(tuple(head)), *(tables.Cell((text,) if text else ()) for text in cells)]


def _header(table: Table, column: Column) -> tuple[str, ...]:
    """Task, split, and n where all that was scored here has the same."""
    lines = (column.task, f"@{column.split or '?'}")
    n = _shared_n(table, column)
    return lines if n is None else (*lines, f"n {n:,}")


def _own(table: Table, column: Column) -> list[tuple[Row, Cell]]:
    """The column's cells that were scored here."""
    cells = ((row, row.cells.get(column)) for row in table.rows)
    return [(row, cell) for row, cell in cells if cell is not None and cell.reported is None]


def _shared_n(table: Table, column: Column) -> int | None:
    sizes = {cell.n for _, cell in _own(table, column)}
    return sizes.pop() if len(sizes) == 1 else None


def _best(table: Table, column: Column) -> Row | None:
    """The best of several runs."""
    scored = [
        (cell.score, row)
        for row, cell in _own(table, column)
        if row.kind == "run" and cell.score is not None
    ]
    return max(scored, key=lambda pair: pair[0])[1] if len(scored) > 1 else None


def _lines(
    table: Table, column: Column, cell: Cell | None, numbers: dict[str, int]
) -> tuple[str, ...]:
    if cell is None:
        return ()
    delta = "" if cell.delta is None else f" ({cell.delta:+.1f})"
    if cell.reported is not None:
        mark = notes.source_mark(cell, numbers)
        text = notes.as_printed(cell.reported.score) + delta + (f" [{mark}]" if mark else "")
        return (text,) if cell.reported.is_verified else (text, UNVERIFIED)
    mark = f" {REMARKED}" if cell.remark else ""
    lines = ["-" if cell.score is None else f"{cell.score:.1f}{mark}{delta}"]
    if cell.low is not None and cell.high is not None:
        lines.append(f"{cell.low:.1f}-{cell.high:.1f}")
    if _shared_n(table, column) is None and cell.n is not None:
        lines.append(f"n {cell.n:,}")
    counts = ((cell.failed, "failed"), (cell.missing, "not run"), (cell.unparsed, "unparsed"))
    return (*lines, *(f"{count:,} {what}" for count, what in counts if count))


def _mean_lines(mean: Mean) -> tuple[str, ...]:
    text = f"{mean.score:.1f}"
    if mean.low is None or mean.high is None:
        return (text,)
    return text, f"{mean.low:.1f}-{mean.high:.1f}"


def _below(table: Table, chosen: Sequence[str]) -> Iterable[str]:
    """How the columns were scored, of which only a part was run, and whose costs they are."""
    ways: dict[str, list[str]] = {}
    for column in table.columns:
        ways.setdefault(column.how, []).append(column.name)
    for how, names in ways.items():
        yield f"{how}: {_all_or(names, table.columns)}"
    parts: dict[tuple[str, ...], list[str]] = {}
    for column in table.columns:
        own = _own(table, column)
        for size in dict.fromkeys((c.num_rows, c.split_rows) for _, c in own if c.is_part):
            rows = [row.name for row, c in own if (c.num_rows, c.split_rows) == size]
            some = tuple(rows) if len(rows) < len(own) else ()
            shown = f"{size[0]:,} of {size[1]:,} rows of {column.name}"
            parts.setdefault(some, []).append(shown)
    for some, sizes in parts.items():
        of = f" ({'; '.join(some)})" if some else ""
        yield f"a part of the split: {', '.join(sizes)}{of}"
    for row in table.rows:
        for column, cell in row.cells.items():
            if cell.remark and column in table.columns:
                yield f"{REMARKED} {notes.title_of(row)}, {column.name}: {cell.remark}"
    figures = [costs.figure(name) for name in chosen if name in costs.KEYS]
    yield from notes.costs(table, figures)


def _all_or(names: Sequence[str], columns: Sequence[Column]) -> str:
    return "all tasks" if len(names) == len(columns) > 1 else ", ".join(names)
