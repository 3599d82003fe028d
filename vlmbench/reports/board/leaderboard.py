"""The board: runs beside controls and reported results, in tables whose columns compare.

A column is one task and split, prompted and scored in one way. Another number of shots or another
harness makes another table; a mini task never shares a table with a real one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from vlmbench.conditions import Condition, Fact
from vlmbench.errors import no_such
from vlmbench.reports.board.baselines import Reported
from vlmbench.runs.folder.costs import Costs
from vlmbench.task.loading import installed
from vlmbench.task.scoring import Summary

Kind = Literal["run", "control", "open", "proprietary"]
"""Kind of a row: a run of ours, a control (ours or reported), or a system others report on."""

FACTS = ("params", "tokens", "system", "kind", "source", "trust", "verified")
"""Names that a condition may use, besides those of tasks, which stand for the row's score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The setting that all columns of a table share."""

    is_mini: bool
    shots: int | None
    """Few-shot examples; None: not known, or `is_finetuned`."""

    is_finetuned: bool = False
    """True: the systems were fine-tuned on the task."""

    harness: str = ""
    """Third party that ran and scored the systems; empty: none is named."""

    @property
    def title(self) -> str:
        shots = "shots not stated" if self.shots is None else f"{self.shots} shots"
        parts = ["fine-tuned on the task" if self.is_finetuned else shots]
        parts += [f"asked and scored by {self.harness}"] if self.harness else []
        return ("Embedded stand-ins, " if self.is_mini else "") + ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One task and split, prompted and scored in one way."""

    task: str
    split: str | None
    """None: the sources do not name one."""

    setting: Setting
    metric: str
    version: int | None = None
    """Version of the task; None, like the next two, where all results are reported ones."""

    prompt_style: str | None = None
    profile: str | None = None
    reading: str = ""
    """How responses were read before they were scored; empty: as they are."""

    @property
    def name(self) -> str:
        return f"{self.task}@{self.split}" if self.split else f"{self.task} (split not stated)"

    @property
    def how(self) -> str:
        """Metric, and for runs the profile, the prompt style and the task's version."""
        if self.version is None:
            return self.metric
        parts = [self.metric, str(self.profile), *filter(None, [self.reading])]
        return ", ".join([*parts, str(self.prompt_style), f"v{self.version}"])

    @property
    def order(self) -> tuple[float, str, bool, str, bool]:
        """Sort key: the task's `board_order`, tasks without one last; then by names."""
        place = _board_order(self.task)
        return place, self.task, self.split is None, self.split or "", self.version is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A score and its evidence. What is unknown is None: most of it, for reported results."""

    score: float | None
    """Score in percent (CIDEr in points); None: nothing could be scored."""

    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Size of the mean: samples, or questions where options rotate."""

    num_rows: int | None = None
    """Number of samples with a response or an error."""

    split_rows: int | None = None
    """Number of samples in the whole split."""

    failed: int | None = None
    missing: int | None = None
    unparsed: int | None = None
    tokens_per_image: float | None = None
    costs: Costs | None = None
    """What the run's samples of this task cost."""

    fingerprint: str = ""
    """Fingerprint of the rows that were read; empty if unknown."""

    folder: str = ""
    """Folder of the run; empty for controls and reported results."""

    reported: Reported | None = None
    """The report that the score is from; None for scores made here."""

    also: tuple[Reported, ...] = ()
    """Other reports, with other scores; the cell shows the most trusted one."""

    remark: str = ""
    """What of the responses a reader must know: many are marked, cut off or empty."""

    delta: float | None = None
    """Points above the reference row; None where that has no such score."""

    @classmethod
    def of(cls, summary: Summary, *, split_rows: int, fingerprint: str) -> Cell:
        """The cell of scores that were made here."""
        found = summary.estimate
        return cls(
            score=100 * found.mean if found else None,
            low=100 * found.low if found else None,
            high=100 * found.high if found else None,
            n=found.n if found else 0,
            num_rows=summary.num_rows,
            split_rows=split_rows,
            failed=summary.failed,
            unparsed=summary.unparsed,
            fingerprint=fingerprint,
        )

    @property
    def is_part(self) -> bool:
        """True where the split was not run as a whole."""
        return self.num_rows is not None and self.num_rows != self.split_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A run, a control or a system."""

    name: str
    kind: Kind
    num_parameters: int | None
    cells: Mapping[Column, Cell]
    note: str = ""
    costs: Costs | None = None
    """What a run costs as a whole."""

    num_tasks: int = 0
    """Tasks of the run, those that the board does not show included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of one setting, and the rows that have a cell in them."""

    setting: Setting
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Rows of all settings; every operation gives a new board."""

    rows: tuple[Row, ...]
    reference: str | None = None
    """Name of the row that deltas are relative to."""

    sort_key: str = ""
    """See `sorted_by`; empty: the rows' own order."""

    notes: tuple[str, ...] = ()
    """Caveats that a reader must know before comparing, a sentence each."""

    @property
    def columns(self) -> list[Column]:
        found = {column: None for row in self.rows for column in row.cells}
        return sorted(found, key=lambda column: column.order)

    @property
    def tables(self) -> list[Table]:
        """Mini tasks first, then zero-shot, more shots, fine-tuned, unknown and named harnesses."""
        columns = self.columns
        tables = []
        for setting in sorted({column.setting for column in columns}, key=_setting_order):
            inside = tuple(column for column in columns if column.setting == setting)
            rows = [row for row in self.rows if any(column in row.cells for column in inside)]
            if self.sort_key:
                rows.sort(key=_place(self.sort_key, inside))
            tables.append(Table(setting=setting, columns=inside, rows=tuple(rows)))
        return tables

    def only(self, tasks: Sequence[str]) -> Board:
        """The board with only the columns of these tasks, each `TASK` or `TASK@SPLIT`.

        Raises: VlmbenchError for one that no column has.
        """
        columns = self.columns
        _check_columns(tasks, columns, "--tasks")
        kept = {column for column in columns if {column.task, column.name} & set(tasks)}
        return self._with_cells(lambda row, column: column in kept)

    def where(self, condition: Condition) -> Board:
        """The board with only the cells for which the condition holds."""
        return self._with_cells(lambda row, column: condition(_facts(row, column)))

    def fact_names(self) -> list[str]:
        """Names that a condition may use."""
        columns = self.columns
        tasks = {name for column in columns for name in (column.task, column.name)}
        return [*FACTS, *sorted(name for name in tasks if " " not in name)]

    def sorted_by(self, key: str) -> Board:
        """The board sorted by `name`, `params` or `tokens`, least first, or by a task, best first.

        Each table is sorted by its own cells: by the first of a task's columns there, so name a
        split where it has several. Rows without a value come last; ties keep their order.

        Raises: VlmbenchError for a task that no column has.
        """
        if key not in ("name", "params", "tokens"):
            _check_columns([key], self.columns, "--sort")
        return replace(self, sort_key=key)

    def against(self, name: str) -> Board:
        """The board with every score's difference from that row's in the same column.

        Raises: VlmbenchError where no row has the name.
        """
        names = [row.name for row in self.rows]
        if name not in names:
            raise no_such("row", name, names, "on the board (--reference)")
        reference = self.rows[names.index(name)].cells

        def compared(column: Column, cell: Cell) -> Cell:
            other = reference.get(column)
            if cell.score is None or other is None or other.score is None:
                return cell
            return replace(cell, delta=cell.score - other.score)

        rows = tuple(
            replace(row, cells={c: compared(c, cell) for c, cell in row.cells.items()})
            for row in self.rows
        )
        return replace(self, rows=rows, reference=name)

    def _with_cells(self, keep: Callable[[Row, Column], bool]) -> Board:
        rows = [
            replace(row, cells={c: cell for c, cell in row.cells.items() if keep(row, c)})
            for row in self.rows
        ]
        return replace(self, rows=tuple(row for row in rows if row.cells))


@cache
def _board_order(name: str) -> float:
    task = installed(name)
    return math.inf if task is None or task.board_order is None else task.board_order


def _place(key: str, columns: Sequence[Column]) -> Callable[[Row], tuple[bool, float, str]]:
    """A sort key for rows of a table with these columns; rows without a value come last."""
    scored = next((column for column in columns if key in (column.task, column.name)), None)

    def place(row: Row) -> tuple[bool, float, str]:
        if key == "name":
            return False, 0.0, row.name.lower()
        value: float | None = None
        if key == "params":
            value = row.num_parameters
        elif key == "tokens":
            tokens = (row.cells[c].tokens_per_image for c in columns if c in row.cells)
            value = min((count for count in tokens if count is not None), default=None)
        elif scored is not None and scored in row.cells:
            score = row.cells[scored].score
            value = None if score is None else -score
        return value is None, value or 0.0, ""

    return place


def _facts(row: Row, column: Column) -> dict[str, Sequence[Fact]]:
    cell = row.cells[column]
    reported = cell.reported
    facts: dict[str, Sequence[Fact]] = {
        "params": [row.num_parameters],
        "tokens": [cell.tokens_per_image],
        "system": [row.name],
        "kind": [row.kind],
        "source": [reported.source.key if reported and reported.source else None],
        "trust": [reported.trust if reported else None],
        "verified": [reported.is_verified if reported else True],
    }
    for task in {column.task for column in row.cells}:
        facts[task] = [cell.score for c, cell in row.cells.items() if c.task == task]
    for name in {column.name for column in row.cells}:
        facts[name] = [cell.score for c, cell in row.cells.items() if c.name == name]
    return facts


def _check_columns(names: Iterable[str], columns: Iterable[Column], where: str) -> None:
    known = {name for column in columns for name in (column.task, column.name)}
    for name in names:
        if name not in known:
            raise no_such("task", name, known or {"none"}, f"on the board ({where})")


def _setting_order(setting: Setting) -> tuple[bool, str, bool, bool, int]:
    unknown = setting.shots is None
    return (
        not setting.is_mini,
        setting.harness,
        unknown and not setting.is_finetuned,
        setting.is_finetuned,
        setting.shots or 0,
    )
