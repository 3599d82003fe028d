"""Blind controls (chance, majority, question only) as rows of the board, on the mini tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast, get_args

from vlmbench.data import splits
from vlmbench.errors import VlmbenchError
from vlmbench.reports import controls
from vlmbench.reports.board.leaderboard import Cell, Column, Row
from vlmbench.schema import Profile
from vlmbench.task.loading import find

MINI = "mini"
"""The split whose scenes have a training part for a control to learn from."""


def control_rows(columns: Iterable[Column]) -> list[Row]:
    """A row for each of `controls.CONTROLS`, with a cell in each column of a mini task.

    Scenes that this machine has not drawn yet are drawn: seconds per task.

    Raises: VlmbenchError where no column is of a mini task, or one is of another version of its
    task than this vlmbench has.
    """
    cells: dict[str, dict[Column, Cell]] = {name: {} for name in controls.CONTROLS}
    for column in columns:
        if column.split == MINI and column.profile in get_args(Profile):
            for name, cell in _cells(column, cast(Profile, column.profile)).items():
                cells[name][column] = cell
    if not any(cells.values()):
        raise VlmbenchError("--controls are for mini tasks, and no run has one; run TASK@mini")
    return [
        Row(name=name, kind="control", num_parameters=None, cells=found)
        for name, found in cells.items()
    ]


def _cells(column: Column, profile: Profile) -> Mapping[str, Cell]:
    task = find(column.task)
    if task.version != column.version:
        raise VlmbenchError(
            f"a run is of version {column.version} of {column.task}, this vlmbench has version "
            f"{task.version}: its controls do not compare; run it again, or leave --controls out"
        )
    rows = splits.load(task.name, task.split(MINI))
    samples = [task.read(row) for row in rows]
    found = controls.summaries(task, samples, controls.training_samples(task))
    return {
        name: Cell.of(summaries[profile], split_rows=len(rows), fingerprint=rows.fingerprint)
        for name, summaries in found.items()
    }
