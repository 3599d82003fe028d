"""Plots of a training's log: losses by source, scores, learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from idefics2.train.log import read_log


def draw_curves(log: Path, out: Path) -> list[Path]:
    """Writes `curves.svg` and `curves.png` into a folder; steps of all stages follow one another.

    Raises: ValueError if nothing is logged yet.
    """
    from matplotlib.figure import Figure

    records = _in_line(read_log(log))
    if not records:
        raise ValueError(f"{log} has no lines to plot")
    figure = Figure(figsize=(8, 8), layout="constrained")
    losses, scores, rates = figure.subplots(3, 1, sharex=True)
    for source, points in _series(records, "by_source").items():
        losses.plot(*zip(*points, strict=True), label=source, linewidth=1)
    losses.set(ylabel="loss", yscale="log")
    for name, points in _series(records, "scores").items():
        scores.plot(*zip(*points, strict=True), label=name, marker=".", linewidth=1)
    scores.set(ylabel="score")
    rates.plot(
        *zip(*[(r["place"], r["lr"]) for r in records if r["kind"] == "train"], strict=True),
        color="black",
        linewidth=1,
    )
    rates.set(ylabel="learning rate", xlabel="step")
    for axes in (losses, scores):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", ncols=2, frameon=False)
    for axes in (losses, scores, rates):
        axes.grid(alpha=0.3)
        for place in _boundaries(records):
            axes.axvline(place, color="grey", linestyle=":", linewidth=1)
    paths = [out / "curves.svg", out / "curves.png"]
    for path in paths:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _in_line(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records with their place on the axis of all stages' steps."""
    placed, before, last, stage = [], 0, 0, None
    for record in records:
        if record["stage"] != stage:
            before, stage = last, record["stage"]
        last = before + record["step"]
        placed.append({**record, "place": last})
    return placed


def _series(records: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[tuple[int, float]]]:
    series: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        for name, value in record.get(key, {}).items():
            series.setdefault(name, []).append((record["place"], value))
    return series


def _boundaries(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Where one stage ends and another begins."""
    return [
        before["place"] for before, after in pairwise(records) if before["stage"] != after["stage"]
    ]
