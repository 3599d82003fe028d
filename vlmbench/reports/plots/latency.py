"""The distribution of single-stream latency over samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlmbench.metrics.intervals import Floats
from vlmbench.reports.plots import style
from vlmbench.reports.plots.series import Cell, Drawing, Drawings, Skipped
from vlmbench.reports.plots.style import Size
from vlmbench.reports.plots.ticks import set_logarithmic
from vlmbench.runs.folder import single_stream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKED = (50, 90, 99)
"""Percentiles with a marker."""

MOST_STEPS = 1000


def drawings(name: str, cells: Sequence[Cell], size: Size) -> Drawings:
    """A figure for one task, with a curve for each run that measured requests alone."""
    curves = []
    for cell in cells:
        measured = single_stream.of_last_place(single_stream.read(cell.task.folder))
        alone = measured.get(cell.task.name, {}).values()
        seconds = [record.latency_s for record in alone if record.counts]
        if seconds:
            curves.append((cell, np.sort(np.array(seconds, dtype=np.float64))))
        else:
            yield Skipped(f"{name}: {cell.series.label} has no single-stream latency")
    if curves:
        yield Drawing(f"latency-{name}", size, _Draw(name, curves, size))


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws one figure when called."""

    name: str
    curves: Sequence[tuple[Cell, Floats]]
    """Runs, each with its latencies in seconds, sorted."""

    size: Size

    def __call__(self) -> Figure:
        figure = style.new_figure(self.size, self.size.height_in)
        axes = figure.add_subplot()
        handles, names = [], []
        for cell, seconds in self.curves:
            look, label = cell.series.look, cell.series.label
            ends, shares = steps(seconds)
            (line,) = axes.step(
                ends, shares, where="post", color=look.colour, linestyle=look.line, zorder=3
            )
            half = 100 * band(len(seconds))
            axes.fill_between(
                ends,
                np.clip(shares - half, 0, 100),
                np.clip(shares + half, 0, 100),
                step="post",
                color=look.colour,
                alpha=0.15,
                linewidth=0,
            )
            marked = np.percentile(seconds, MARKED, method="inverted_cdf")
            axes.plot(
                marked,
                MARKED,
                linestyle="none",
                marker=look.marker,
                color=look.colour,
                markeredgecolor="black",
                markeredgewidth=self.size.font_pt / 16,
                zorder=4,
                clip_on=False,
            )
            handles.append(line)
            names.append(f"{label} (n = {len(seconds):,})")
            line.set_marker(look.marker)
            line.set_markevery([])
        low = min(float(seconds[0]) for _, seconds in self.curves)
        high = max(float(seconds[-1]) for _, seconds in self.curves)
        if low > 0 and high / low > 20:
            set_logarithmic(axes, low / 1.1, high * 1.1)
        else:
            axes.set_xlim(0, 1.05 * high or 1.0)
        axes.set_ylim(0, 101)
        axes.set_xlabel("latency, single stream [s]")
        axes.set_ylabel("requests answered within it (%)")
        style.title(axes, self.size, self.name)
        style.legend(figure, self.size, handles, names)
        style.caption(figure, self.size, self._caption())
        return figure

    def _caption(self) -> str:
        text = (
            "Markers: 50th, 90th and 99th percentile. Bands: 95 % of whole curves (Dvoretzky, "
            "Kiefer, Wolfowitz), as if samples were independent. One request at a time, on a "
            "sample of the task's."
        )
        places = {
            cell.task.costs.single_stream.place.device
            for cell, _ in self.curves
            if cell.task.costs.single_stream is not None
        }
        return text + (" The devices differ." if len(places) > 1 else "")


def steps(ordered: Floats) -> tuple[Floats, Floats]:
    """The empirical distribution: where it steps, and to how many percent; thinned if long."""
    n = len(ordered)
    ranks = np.unique(np.linspace(1, n, min(n, MOST_STEPS)).round().astype(np.int64))
    return (
        np.concatenate([ordered[:1], ordered[ranks - 1]]),
        np.concatenate([[0.0], 100 * ranks / n]),
    )


def band(n: int, confidence: float = 0.95) -> float:
    """Half the width of a band that holds the whole true distribution (Massart, 1990)."""
    return math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))
