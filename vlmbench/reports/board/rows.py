"""Rows of the board: from finished runs, from controls, and from reported results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from msgspec import UNSET

from vlmbench.errors import VlmbenchError
from vlmbench.reports.board import controls
from vlmbench.reports.board.baselines import Reported, System
from vlmbench.reports.board.leaderboard import Board, Cell, Column, Kind, Row, Setting
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.usage import sessions
from vlmbench.schema import FOLLOWS, Profile
from vlmbench.task.loading import installed

CIRCULAR = "circular_accuracy"
"""Our metric for CircularEval (MMBench), which counts questions, not rows; reports say accuracy."""

WITH_OCR = " with OCR tokens"


def board_of(
    runs: Sequence[FinishedRun],
    systems: Sequence[System],
    *,
    profile: Profile = "official",
    allow_mixed: bool = False,
    with_controls: bool = False,
) -> Board:
    """The board: a row per run, per control if `with_controls`, and per system.

    `profile`: the scoring rules of the runs; a task that lacks it is scored by "official", and its
    column says so. `allow_mixed`: tasks prompted in several ways get a column for each.

    Raises: VlmbenchError where runs differ on one split in the prompt or the task's version, unless
    `allow_mixed`; and as `control_rows` does.
    """
    rows = [_run_row(run, name, profile) for run, name in zip(runs, _names(runs), strict=True)]
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    if not allow_mixed:
        _refuse_mixed(columns, rows)
    if with_controls:
        rows += controls.control_rows(columns)
    rows += [_system_row(system, columns) for system in systems]
    return Board(rows=tuple(rows), notes=tuple(_notes(runs, rows)))


def _run_row(run: FinishedRun, name: str, profile: Profile) -> Row:
    cells: dict[Column, Cell] = {}
    for task in run.tasks:
        used = profile if profile in task.summaries else "official"
        if used not in task.summaries:
            continue  # the split's answers are not public: a note says so
        cells[_run_column(task, used)] = _run_cell(run, task, used)
    kind: Kind = "control" if run.is_control else "run"
    sizes = (session.num_parameters for session in sessions(run.folder))
    return Row(
        name=name,
        kind=kind,
        num_parameters=max((size for size in sizes if size is not None), default=None),
        cells=cells,
        costs=run.costs,
        num_tasks=len(run.manifest.tasks),
    )


def _run_column(task: FinishedTask, profile: Profile) -> Column:
    return Column(
        task=task.task,
        split=task.split,
        setting=Setting(is_mini=task.is_mini, shots=task.prompt.shots),
        metric=task.metric,
        version=task.version,
        prompt_style=task.prompt_style + (WITH_OCR if task.prompt.ocr else ""),
        profile=profile,
        reading=task.reading.name,
    )


def _run_cell(run: FinishedRun, task: FinishedTask, profile: Profile) -> Cell:
    costs = task.costs
    summary = task.summaries[profile]
    cell = Cell.of(summary, split_rows=task.num_rows, fingerprint=task.data.fingerprint)
    return replace(
        cell,
        missing=task.num_missing,
        remark=task.remark(profile),
        tokens_per_image=costs.visual_tokens_per_image,
        costs=costs,
        folder=run.folder.as_posix(),
    )


def _names(runs: Iterable[FinishedRun]) -> list[str]:
    """Titles of the runs, with the folder's name where two have the same one."""
    runs = list(runs)
    titles = [run.title for run in runs]
    names = [
        f"{title} ({run.folder.name})" if titles.count(title) > 1 else title
        for run, title in zip(runs, titles, strict=True)
    ]
    if len(set(names)) < len(names):
        names = [f"{run.title} ({run.folder})" for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise VlmbenchError(f"a run is given twice: {twice}")
    return names


def _refuse_mixed(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Checks that each split has one column.

    Raises: VlmbenchError where one has several.
    """
    for first in columns:
        for other in columns:
            if other.name != first.name or other == first:
                continue
            ways = {
                "task version": (first.version, other.version),
                "shots": (first.setting.shots, other.setting.shots),
                "prompt style": (first.prompt_style, other.prompt_style),
                "metric": (first.metric, other.metric),
                "profile": (first.profile, other.profile),
                "reading": (first.reading or "as it is", other.reading or "as it is"),
            }
            what = " and ".join(
                f"{name} ({one} and {two})" for name, (one, two) in ways.items() if one != two
            )
            names = [next(r.name for r in rows if column in r.cells) for column in (first, other)]
            raise VlmbenchError(
                f"the runs differ in {what} on {first.name}, so their scores do not compare "
                f"({names[0]}, {names[1]}); --allow-mixed shows them in columns of their own"
            )


def _system_row(system: System, run_columns: Sequence[Column]) -> Row:
    found: dict[Column, list[Reported]] = {}
    for result in system.results:
        found.setdefault(_reported_column(result, run_columns), []).append(result)
    cells = {}
    for column, results in found.items():
        best, *others = sorted(results, key=lambda result: result.rank)
        cells[column] = Cell(
            score=best.score,
            tokens_per_image=best.tokens_per_image,
            reported=best,
            also=tuple(other for other in others if other.score != best.score),
        )
    return Row(
        name=system.name,
        kind=system.kind,
        num_parameters=system.num_parameters,
        cells=cells,
        note=system.note,
    )


def _reported_column(result: Reported, run_columns: Sequence[Column]) -> Column:
    """The runs' column, where there is one of this split, shots and metric; else one of its own.

    Of columns that `allow_mixed` set apart it joins none, nor one with OCR tokens in the prompt or
    with other rules than the official ones.
    """
    setting = Setting(
        is_mini=False,
        shots=result.shots,
        is_finetuned=result.is_finetuned,
        harness=result.harness,
    )
    metric = result.metric
    if metric == "accuracy" and (task := installed(result.task)) and task.metric == CIRCULAR:
        metric = CIRCULAR
    same = [
        column
        for column in run_columns
        if (column.task, column.split, column.setting) == (result.task, result.split, setting)
    ]
    own = Column(task=result.task, split=result.split, setting=setting, metric=metric)
    found = [(column.metric, column.profile, column.reading) for column in same]
    if found != [(metric, "official", "")]:
        return own
    return own if (same[0].prompt_style or "").endswith(WITH_OCR) else same[0]


def matching(board: Board) -> Board:
    """The board without the columns that no run of ours has."""
    ours = {column for row in board.rows if row.kind == "run" for column in row.cells}
    rows = [
        replace(row, cells={c: cell for c, cell in row.cells.items() if c in ours})
        for row in board.rows
    ]
    return replace(board, rows=tuple(row for row in rows if row.cells))


def _notes(runs: Sequence[FinishedRun], rows: Sequence[Row]) -> Iterable[str]:
    for run in runs:
        hidden = [task.name for task in run.tasks if not task.summaries]
        if hidden:
            yield (
                f"{run.title} also ran {', '.join(hidden)}, whose answers are not public: "
                "there is no score."
            )
        yield from _imported(run)
    for column in dict.fromkeys(column for row in rows for column in row.cells):
        cells = [row.cells[column] for row in rows if column in row.cells]
        if len({cell.fingerprint for cell in cells} - {""}) > 1:
            yield f"The runs on {column.name} read different copies of its rows."
        elif len({cell.num_rows for cell in cells if cell.num_rows is not None}) > 1:
            yield f"The runs on {column.name} are not of the same samples: see n."


def _imported(run: FinishedRun) -> Iterable[str]:
    """The score that the harness which made the answers reports, beside ours."""
    origin = run.manifest.imported
    if origin is UNSET:
        return
    follows = {FOLLOWS[task.profile] for task in origin.tasks.values()}
    if origin.version and not any(origin.version in version.split() for version in follows):
        yield (
            f"{run.title} was asked by {origin.harness} {origin.version}; the profile for it "
            f"follows {', '.join(sorted(follows))}."
        )
    for name, task in origin.tasks.items():
        if task.reported is not None and task.official is not None:
            difference = task.official - task.reported
            yield (
                f"{run.title} on {name} was asked by {origin.harness}, which reports "
                f"{task.reported:.2f} of these answers; the official rules give "
                f"{task.official:.2f} ({difference:+.2f})."
            )
