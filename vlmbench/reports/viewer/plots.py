"""The report's plots, as `vlmbench plot` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.finished import FinishedRun

KINDS = ("tradeoff", "radar", "latency")
"""Categories have their own charts on the page."""


def draw(runs: Sequence[FinishedRun], folder: Path) -> dict[str, Any]:
    """Write the figures of these runs; returns their files and names, and why some are missing."""
    from vlmbench.reports import plots

    drawn: list[tuple[str, str]] = []
    left_out: list[str] = []
    try:
        for drawing in plots.figures(runs, KINDS):
            if isinstance(drawing, plots.Skipped):
                left_out.append(drawing.reason)
                continue
            for path in plots.write(drawing, folder, ("svg",)):
                drawn.append((f"{folder.name}/{path.name}", drawing.name))
    except VlmbenchError as error:  # runs that cannot share a figure, or no matplotlib
        left_out.append(str(error))
    return {"plots": drawn, "left_out": left_out}
