"""Runs as the series of a figure: a label, a look, and the tasks that they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from vlmbench.errors import VlmbenchError
from vlmbench.metrics.intervals import Estimate
from vlmbench.reports.plots.style import Look, Size, look
from vlmbench.runs.folder.costs import Costs
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.sweep import read_sweep
from vlmbench.schema import Profile
from vlmbench.task.styles import versioned
from vlmbench.terminal import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure that is drawn when asked for."""

    name: str
    """Name of its file, without suffix."""

    size: Size
    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A figure that the runs lack the data for."""

    reason: str


Drawings: TypeAlias = Iterator[Drawing | Skipped]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Runs of one sweep that differ in a single setting, in the order of its values."""

    sweep: Path
    setting: str
    """The one that is turned along the curve."""

    others: str
    """The sweep's other settings, which are the same for the curve's points; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A run in a figure; it keeps its look in every one."""

    label: str
    look: Look
    """Tells it from the others, where they are no more than there are looks."""

    run: FinishedRun
    short: str
    """What is in no other run's label: its name beside a point."""

    curve: Curve | None = None
    """The curve that it is a point of."""

    place: int = 0
    """Of its value among those of the curve's setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A task of a series, scored."""

    series: Series
    task: FinishedTask
    profile: Profile

    @property
    def estimate(self) -> Estimate | None:
        """The score; None: the answers are not public, or nothing could be scored."""
        summary = self.task.summaries.get(self.profile)
        return summary.estimate if summary else None

    @property
    def costs(self) -> Costs:
        return self.task.costs


def series_of(runs: Sequence[FinishedRun]) -> list[Series]:
    """Runs with labels that say what they differ in: model, prompt style, shots, or else folder.

    Raises: VlmbenchError where a run is named twice, or a sweep's file is damaged.
    """
    folders = [run.folder.resolve() for run in runs]
    if len(set(folders)) < len(folders):
        raise VlmbenchError("a run is named twice")
    styles = {_style(run) for run in runs}
    shots = {run.manifest.prompt.shots for run in runs}
    labels = []
    for run in runs:
        prompt, parts = run.manifest.prompt, [run.title]
        parts += [f"prompt of {_style(run)}"] if len(styles) > 1 else []
        parts += [f"{prompt.shots} shots"] if len(shots) > 1 else []
        labels.append(", ".join(parts))
    if len(set(labels)) < len(labels):
        places = _places(folders)
        labels = [f"{label} ({place})" for label, place in zip(labels, places, strict=True)]
    # of a name that is no UTF-8 there are lone surrogates, which cannot be drawn
    labels = [clean(label.encode("utf-8", "backslashreplace").decode()) for label in labels]
    shorts = _without_shared(labels)
    found = []
    for index, (label, short, run) in enumerate(zip(labels, shorts, runs, strict=True)):
        curve, value, place = _curve(run)
        found.append(
            Series(
                label=label,
                look=look(index),
                run=run,
                short=value or short,
                curve=curve,
                place=place,
            )
        )
    return found


def _without_shared(labels: Sequence[str]) -> list[str]:
    """The labels without what all of them have, and without folders, if they still differ."""
    parts = [label.split(", ") for label in labels]
    shared = set(parts[0]).intersection(*parts) if len(parts) > 1 else set()
    shorts = [", ".join(part for part in one if part not in shared) for one in parts]
    shorts = [short or label for short, label in zip(shorts, labels, strict=True)]
    names = [", ".join(re.sub(r"^.*/(?=.)", "", p) for p in s.split(", ")) for s in shorts]
    return names if len(set(names)) == len(set(shorts)) else shorts


def _curve(run: FinishedRun) -> tuple[Curve | None, str, int]:
    """The curve of a sweep's run, its value there, and the value's place."""
    folder = run.folder.resolve()
    sweep = read_sweep(folder.parent)
    if sweep is None or folder.name not in sweep.runs:
        return None, "", 0
    settings = dict(sweep.runs[folder.name])
    name = sweep.curve.name
    value = settings.pop(name)
    others = ", ".join(f"{key}={one}" for key, one in settings.items())
    curve = Curve(sweep=folder.parent, setting=name, others=others)
    return curve, value, sweep.curve.values.index(value)


def _style(run: FinishedRun) -> str:
    prompt = run.manifest.prompt
    return versioned(prompt.style, prompt.style_version)


def _places(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    depth = 1
    while len({folder.parts[-depth:] for folder in folders}) < len(folders):
        depth += 1
    return ["/".join(folder.parts[-depth:]) for folder in folders]


def by_task(every: Iterable[Series], profile: Profile) -> dict[str, list[Cell]]:
    """`TASK@SPLIT` to its cells, in the order of the runs.

    Raises: VlmbenchError where runs have different versions of a task: they never share a figure.
    """
    found: dict[str, list[Cell]] = {}
    for series in every:
        for task in series.run.tasks:
            cells = found.setdefault(task.name, [])
            if cells and cells[0].task.version != task.version:
                raise VlmbenchError(
                    f"{cells[0].series.run.folder} has version {cells[0].task.version} of "
                    f"{task.name} and {series.run.folder} has version {task.version}: "
                    "run the older one again, or plot them apart"
                )
            cells.append(Cell(series=series, task=task, profile=profile))
    return found


def scored(cells: Sequence[Cell]) -> list[tuple[Cell, Estimate]]:
    """The cells that have a score."""
    pairs = ((cell, cell.estimate) for cell in cells)
    return [(cell, estimate) for cell, estimate in pairs if estimate is not None]


METRICS = {"vqa_accuracy": "VQA accuracy", "anls": "ANLS"}


def metric_of(task: FinishedTask) -> str:
    """The task's metric with its unit, as an axis label."""
    return f"{METRICS.get(task.metric, task.metric.replace('_', ' '))} (%)"


def described(cells: Sequence[tuple[Cell, Estimate]]) -> str:
    """The caption of a figure of scores: rules, interval, n, what failed."""
    cell = cells[0][0]
    sizes = sorted({estimate.n for _, estimate in cells})
    shown = " to ".join(f"{n:,}" for n in dict.fromkeys((sizes[0], sizes[-1])))
    parts = [
        f"Version {cell.task.version}, {cell.profile} rules; 95 % intervals, clustered by picture; "
        f"n = {shown}"
    ]
    failed = [c for c, _ in cells if c.task.num_failed]
    if failed:
        counts = ", ".join(f"{c.task.num_failed:,} ({c.series.label})" for c in failed)
        parts.append(f"failed and left out: {counts}")
    missing = [c for c, _ in cells if c.task.num_missing or c.task.num_selected < c.task.num_rows]
    if missing:
        parts.append("not the whole split: " + ", ".join(c.series.label for c in missing))
    if len({c.task.data.fingerprint for c, _ in cells}) > 1:
        parts.append("the runs' copies of the data differ")
    if cell.task.is_mini:
        parts.append("embedded stand-ins, not the benchmark")
    return "; ".join(parts) + "."
