"""The figures that can be drawn of some runs, and their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vlmbench.errors import VlmbenchError
from vlmbench.reports.board.baselines import System
from vlmbench.reports.plots import categories, latency, radar, style, tradeoff
from vlmbench.reports.plots.points import scopes
from vlmbench.reports.plots.series import Drawing, Drawings, Skipped, by_task, series_of
from vlmbench.reports.plots.style import LOOKS, Size
from vlmbench.runs.folder.finished import FinishedRun
from vlmbench.schema import Profile

KINDS = ("tradeoff", "tasks", "radar", "categories", "latency")
"""`tradeoff`: of the mean over the tasks, or of the only one; `tasks`: of each task by itself."""

USUAL = ("tradeoff", "radar")

USUAL_OF_ONE = ("tradeoff", "radar", "categories")
"""Of a single run, which has no trade-off but against what others report; of the categories of a
task those of one dimension."""


def figures(
    runs: Sequence[FinishedRun],
    kinds: Sequence[str] = (),
    *,
    profile: Profile = "official",
    systems: Sequence[System] = (),
    size: Size = style.SIZES["column"],
    costs: Sequence[str] = (),
) -> Drawings:
    """Every figure of these kinds (none: the usual ones), or why it is left out.

    `systems`: baselines to draw beside. `costs`: those of trade-offs, by name; none: all known.

    Raises: VlmbenchError where runs cannot share a figure.
    """
    is_usual = not kinds
    kinds = kinds or (USUAL_OF_ONE if len(runs) == 1 else USUAL)
    every = series_of(runs)
    tasks = by_task(every, profile)
    found = scopes(tasks, every)
    if not found:
        yield Skipped("no scores, so nothing to draw")
        return
    first, *others = found
    if "tradeoff" in kinds:
        yield from tradeoff.drawings(first, systems, size, costs)
    if "tasks" in kinds:
        for scope in others if first.name == "mean" else [first, *others]:
            yield from tradeoff.drawings(scope, systems, size, costs)
    apart = [kind for kind in ("radar", "categories", "latency") if kind in kinds]
    if apart and len(runs) > len(LOOKS):
        yield Skipped(f"{', '.join(apart)}: a figure can tell {len(LOOKS)} runs apart; name fewer")
        return
    if "radar" in apart:
        yield from radar.drawings(tasks, every, size)
    for name, cells in tasks.items():
        if "categories" in apart:
            yield from categories.drawings(name, cells, size, most=1 if is_usual else None)
        if "latency" in apart:
            yield from latency.drawings(name, cells, size)


def write(drawing: Drawing, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Draw a figure and save it in each format; returns the files.

    Raises: VlmbenchError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VlmbenchError(f"cannot write figures to {folder}: {error.strerror}") from None
    stem = re.sub(r"[^\w@.-]+", "-", drawing.name)
    paths = [folder / f"{stem}.{suffix}" for suffix in formats]
    with style.applied(drawing.size):
        figure = drawing.draw()
        for path in paths:
            style.save(figure, path)
    return paths
