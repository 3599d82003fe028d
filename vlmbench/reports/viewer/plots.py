"""The report's plots, as `vlmbench plot` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.finished import FinishedRun

KINDS = ("tradeoff", "radar")
"""Categories have their own charts on the page."""

OPENING = ("latency", "tokens", "device-time", "flops", "host-memory")
"""Costs of the trade-offs with which the page opens, the first three of them that are known."""


def draw(runs: Sequence[FinishedRun], folder: Path) -> dict[str, Any]:
    """Write the figures of these runs; returns their files and names, and why some are missing.

    `opening` are the trade-offs that stand at the page's head, `plots` all others.
    """
    from vlmbench.reports import plots

    drawn: dict[str, str] = {}
    left_out: list[str] = []
    try:
        for drawing in plots.figures(runs, KINDS):
            if isinstance(drawing, plots.Skipped):
                left_out.append(drawing.reason)
                continue
            for path in plots.write(drawing, folder, ("svg",)):
                drawn[drawing.name] = f"{folder.name}/{path.name}"
    except VlmbenchError as error:  # runs that cannot share a figure, or no matplotlib
        left_out.append(str(error))
    first = [name for cost in OPENING for name in drawn if name.startswith(f"tradeoff-{cost}-")][:3]
    return {
        "opening": [(drawn[name], name) for name in first],
        "plots": [(file, name) for name, file in drawn.items() if name not in first],
        "left_out": left_out,
    }
