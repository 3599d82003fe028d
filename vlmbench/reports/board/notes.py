"""The notes below the board's tables: how to read them, remarks, and numbered sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vlmbench.reports.board.baselines import BaselineSource, Reported
from vlmbench.reports.board.columns import cost, is_by_task
from vlmbench.reports.board.leaderboard import Board, Cell, Column, Row, Table
from vlmbench.reports.costs import scenario
from vlmbench.runs.folder.costs import Figure

TRUST_MARKS = {
    "benchmark": ("b", "the leaderboard of the benchmark's authors"),
    "competitor": ("c", "a table of another system's authors"),
    "later paper": ("l", "a later paper's table"),
    "low": ("t", "a third party's note"),
    "memory": ("m", "from memory"),
}
"""Letters that mark who reports a score; a system's own authors have none."""

UNVERIFIED = "unverified"


class Wording(NamedTuple):
    """How a format shows what the notes explain."""

    intervals: str = "Brackets hold 95 % intervals"
    deltas: str = "Parentheses hold"
    marks: str = "A number raised beside a score"


MARKUP = Wording()
TEXT = Wording(
    intervals="Below a score of ours stands its 95 % interval",
    marks="A number in brackets beside a score",
)


def numbers(board: Board) -> dict[str, int]:
    """Every source that the board quotes, numbered in the order in which a reader meets them."""
    numbers: dict[str, int] = {}
    for result in _shown(board):
        if result.source:
            numbers.setdefault(result.source.key, len(numbers) + 1)
    return numbers


def _shown(board: Board) -> Iterable[Reported]:
    for _, _, cell in _reported_cells(board):
        if cell.reported:
            yield cell.reported
            yield from cell.also


def _reported_cells(board: Board) -> Iterable[tuple[Row, Column, Cell]]:
    for table in board.tables:
        for row in table.rows:
            for column in table.columns:
                if column in row.cells and row.cells[column].reported:
                    yield row, column, row.cells[column]


def endnotes(
    board: Board, numbers: dict[str, int], wording: Wording = MARKUP
) -> list[tuple[str, list[str]]]:
    """Sections of sentences below the tables; empty ones are left out."""
    reading = []
    if any(cell.low is not None for row in board.rows for cell in row.cells.values()):
        reading.append(
            f"{wording.intervals}, clustered by picture; by question where options rotate."
        )
    if board.reference:
        reading.append(f"{wording.deltas} the distance in points to {board.reference}.")
    reading += board.notes
    cells, results = list(_reported_cells(board)), list(_shown(board))
    if results:
        reading.append(
            f"{wording.marks} is its source, below; harness, prompt and sample count of a "
            "reported score are the source's own, so small differences mean nothing."
        )
    trusts = {result.trust for result in results}
    letters = [f"{mark}: {means}" for key, (mark, means) in TRUST_MARKS.items() if key in trusts]
    if letters:
        reading.append(f"A letter says by whose word: {'; '.join(letters)}; none: its authors.")
    if any(cell.also or (cell.reported and cell.reported.note) for _, _, cell in cells):
        reading.append("*: see the remarks.")
    if not all(result.is_verified for result in results):
        reading.append(f"What is {UNVERIFIED} was not seen in any source: do not quote it.")
    remarks = _remarks(board, numbers)
    sources = {r.source.key: r.source for r in results if r.source}
    listed = [_source(numbers[key], sources[key]) for key in numbers]
    sections = [("How to read this", reading), ("Remarks", remarks)]
    return [
        (title, list(sentences))
        for title, sentences in [*sections, ("Sources", listed)]
        if sentences
    ]


def costs(table: Table, figures: Sequence[Figure]) -> Iterable[str]:
    """What the columns of costs hold: the scenario, and whether it is the tasks' or whole runs'."""
    shown = [one for one in figures if any(cost(table, row, one) is not None for row in table.rows)]
    alone, offline = (
        [one.symbol for one in shown if scenario(one) == name]
        for name in ("single stream", "offline")
    )
    if alone:
        yield f"single stream, one request at a time (medians): {', '.join(alone)}"
    if offline:
        yield f"offline, all requests together: {', '.join(offline)}"
    if len(table.columns) > 1 and shown:
        whole = [one.symbol for one in shown if not is_by_task(table, one)]
        if whole:
            yield f"over whole runs, each sample counting the same: {', '.join(whole)}"
        if len(whole) < len(shown):
            yield f"{'the other ' if whole else ''}costs are means over the tasks" + (
                "; of memory the most" if any("memory" in one.symbol for one in shown) else ""
            )


def _remarks(board: Board, numbers: dict[str, int]) -> list[str]:
    """Remarks, each with the systems of a column that share it."""
    systems: dict[tuple[str, str], list[str]] = {}
    for row, column, cell in _reported_cells(board):
        parts = [cell.reported.note] if cell.reported and cell.reported.note else []
        parts += [f"also reported: {_other(other, numbers)}" for other in cell.also]
        if parts:
            systems.setdefault((column.name, "; ".join(parts)), []).append(row.name)
    of_rows = [f"{row.name}: {row.note}" for row in board.rows if row.note]
    return of_rows + [
        f"{', '.join(dict.fromkeys(names))} on {column}: {text}"
        for (column, text), names in systems.items()
    ]


def _other(result: Reported, numbers: dict[str, int]) -> str:
    by = f"source {numbers[result.source.key]}" if result.source else result.trust
    doubt = "" if result.is_verified else f", {UNVERIFIED}"
    note = f", {result.note}" if result.note else ""
    return f"{as_printed(result.score)} ({by}{doubt}{note})"


def _source(number: int, source: BaselineSource) -> str:
    address = f" {source.address}" if source.address else ""
    seen = "" if source.read in ("yes", "in full") else f" (seen {source.read})"
    return f"{number}: {source.title}.{address}{seen}"


def as_printed(score: float) -> str:
    """The score with one decimal, as nearly every report has it, or with as many as it has."""
    return f"{score:.1f}" if round(score, 1) == score else f"{score:g}"


def source_mark(cell: Cell, numbers: dict[str, int]) -> str:
    """Number of the source of a reported score, letter of its trust, star of a remark."""
    best = cell.reported
    if best is None:
        return ""
    mark = str(numbers[best.source.key]) if best.source else ""
    mark += TRUST_MARKS[best.trust][0] if best.trust in TRUST_MARKS else ""
    return mark + ("*" if best.note or cell.also else "")


def parameters(row: Row) -> str:
    """The number of parameters with its unit: "2.38M"; empty if unknown."""
    if row.num_parameters is None:
        return ""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if row.num_parameters >= size:
            return f"{row.num_parameters / size:.3g}{unit}"
    return str(row.num_parameters)


def title_of(row: Row) -> str:
    """The row's name, with its kind where it was made here."""
    return row.name + (f" ({row.kind})" if row.kind in ("run", "control") else "")
