"""Columns of a table beside those of the tasks: the mean score, and what rows cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vlmbench.errors import no_such
from vlmbench.metrics.intervals import mean_interval
from vlmbench.reports import costs
from vlmbench.reports.board.leaderboard import Row, Table
from vlmbench.reports.costs import is_of_whole_run, over_tasks
from vlmbench.runs.folder.costs import Figure

PARAMS, SCORES, MEAN = "params", "scores", "mean"

NAMES = (PARAMS, SCORES, MEAN, *costs.NAMES)
"""What `--columns` chooses among; `scores` are those of all tasks."""

USUAL = (
    *(PARAMS, SCORES, MEAN, "tokens", "ttft", "latency", "samples/s"),
    *("device-memory", "host-memory", "flops", "energy", "price"),
)
"""Columns of a table that names none, where anything is known for them."""

POINTS = ("cider",)
"""Metrics that are no percentage, and have no part in a mean over tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The mean of a row's scores over the tasks of a table, each task counting the same."""

    score: float
    low: float | None = None
    """Interval, as of `Cell`; None where a score has none."""

    high: float | None = None


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """The names of columns, each once. Raises: VlmbenchError for one that there is not."""
    for name in names:
        if name not in NAMES:
            raise no_such("column", name, NAMES, "of the board (--columns)")
    return tuple(dict.fromkeys(names))


def of_table(table: Table, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The table's columns by name: the wanted ones, or those of the usual ones that are known."""
    if wanted:
        return tuple(name for name in wanted if name != MEAN or has_means(table))
    found = [name for name in USUAL if _is_known(table, name)]
    if "device-memory" in found and "host-memory" in found:
        found.remove("host-memory")
    return tuple(found)


def _is_known(table: Table, name: str) -> bool:
    if name == SCORES:
        return True
    if name == MEAN:
        return has_means(table)
    if name == PARAMS:
        return any(row.num_parameters is not None for row in table.rows)
    figure = costs.figure(name)
    return any(cost(table, row, figure) is not None for row in table.rows)


def has_means(table: Table) -> bool:
    """True where every row has a score, in percent, on each of several tasks, and one an interval.

    Of reported results alone there is no mean: their sources give none.
    """
    has_own = any(cell.low is not None for row in table.rows for cell in row.cells.values())
    return (
        has_own
        and len(table.columns) > 1
        and all(
            column.metric not in POINTS
            and column in row.cells
            and row.cells[column].score is not None
            for row in table.rows
            for column in table.columns
        )
    )


def mean(table: Table, row: Row) -> Mean:
    """The row's mean over the tasks; only where the table `has_means`.

    The interval follows from those of the tasks, as of independent samples.
    """
    cells = [row.cells[column] for column in table.columns]
    scores = [cell.score for cell in cells if cell.score is not None]
    spans = [
        (cell.score, cell.low, cell.high)
        for cell in cells
        if cell.score is not None and cell.low is not None and cell.high is not None
    ]
    if len(spans) < len(scores):
        return Mean(score=math.fsum(scores) / len(scores))
    score, low, high = mean_interval(spans)
    return Mean(score=score, low=low, high=high)


def cost(table: Table, row: Row, figure: Figure) -> float | None:
    """What the row costs over the table's tasks, in the figure's unit.

    None where a task is missing or the cost of one is unknown: the rows would not compare. Where
    the tasks of no row can be told apart, it is that of whole runs, if they have just these tasks.
    """
    if is_by_task(table, figure):
        return _by_task(table, row, figure)
    return _of_run(table, row, figure)


def is_by_task(table: Table, figure: Figure) -> bool:
    """False where the figure is one of whole runs; of a single task it always is the task's."""
    if len(table.columns) == 1 or not is_of_whole_run(figure):
        return True
    whole = [row for row in table.rows if _of_run(table, row, figure) is not None]
    return all(_by_task(table, row, figure) is not None for row in whole)


def _by_task(table: Table, row: Row, figure: Figure) -> float | None:
    cells = [row.cells.get(column) for column in table.columns]
    found = [cell.costs for cell in cells if cell is not None and cell.costs is not None]
    return over_tasks(figure, found) if len(found) == len(cells) else None


def _of_run(table: Table, row: Row, figure: Figure) -> float | None:
    has_just_these = len(row.cells) == row.num_tasks and set(row.cells) == set(table.columns)
    return figure.value(row.costs) if row.costs is not None and has_just_these else None
