"""The figures that can be drawn of some runs, and their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vlmbench.errors import VlmbenchError
from vlmbench.reports.board.baselines import System
from vlmbench.reports.plots import categories, latency, radar, style, tradeoff
from vlmbench.reports.plots.series import Drawing, Drawings, by_task, series_of
from vlmbench.reports.plots.style import Size
from vlmbench.runs.folder.finished import FinishedRun
from vlmbench.schema import Profile

KINDS = ("tradeoff", "categories", "radar", "latency")


def figures(
    runs: Sequence[FinishedRun],
    kinds: Sequence[str] = KINDS,
    *,
    profile: Profile = "official",
    systems: Sequence[System] = (),
    size: Size = style.SIZES["column"],
) -> Drawings:
    """Every figure of these kinds, or why it is left out. `systems`: baselines to draw beside.

    Raises: VlmbenchError where runs cannot share a figure.
    """
    every = series_of(runs)
    tasks = by_task(every, profile)
    for name, cells in tasks.items():
        if "tradeoff" in kinds:
            yield from tradeoff.drawings(name, cells, systems, size)
        if "categories" in kinds:
            yield from categories.drawings(name, cells, size)
        if "latency" in kinds:
            yield from latency.drawings(name, cells, size)
    if "radar" in kinds:
        yield from radar.drawings(tasks, every, size)


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
