"""Radar chart of the scores of one or several runs on all their tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlmbench.metrics.intervals import Estimate
from vlmbench.reports.plots import style
from vlmbench.reports.plots.series import Cell, Drawing, Drawings, Series, Skipped, scored
from vlmbench.reports.plots.style import Size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_AXES = 3
DODGE = 0.05
"""Angle between the intervals of two runs, so that neither covers the other; in radians."""


def drawings(tasks: Mapping[str, Sequence[Cell]], every: Sequence[Series], size: Size) -> Drawings:
    """One figure, with an axis for each `TASK@SPLIT` that every run has a score for."""
    estimates = {
        name: {cell.series.label: estimate for cell, estimate in scored(cells)}
        for name, cells in tasks.items()
    }
    shared = {name: found for name, found in estimates.items() if len(found) == len(every)}
    if len(shared) < FEWEST_AXES:
        have = f"{'all runs have' if len(every) > 1 else 'the run has'} {len(shared)}"
        yield Skipped(f"radar: it takes {FEWEST_AXES} scored tasks, and {have}")
        return
    left_out = [name for name in estimates if name not in shared]
    profile = next(iter(tasks.values()))[0].profile
    yield Drawing("radar", size, _Draw(shared, every, left_out, profile, size))


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws the figure when called."""

    tasks: Mapping[str, Mapping[str, Estimate]]
    """`TASK@SPLIT` to the runs' labels to their scores."""

    series: Sequence[Series]
    left_out: Sequence[str]
    profile: str
    size: Size

    def __call__(self) -> Figure:
        figure = style.new_figure(self.size, 1.2 * self.size.height_in)
        axes: Any = figure.add_subplot(projection="polar")
        axes.set_theta_offset(math.pi / 2)
        axes.set_theta_direction(-1)
        angles = [2 * math.pi * index / len(self.tasks) for index in range(len(self.tasks))]
        handles = []
        for index, series in enumerate(self.series):
            aside = DODGE * (index - (len(self.series) - 1) / 2)
            found = [estimates[series.label] for estimates in self.tasks.values()]
            means = [100 * estimate.mean for estimate in found]
            look = series.look
            (line,) = axes.plot(
                [*angles, angles[0]],
                [*means, means[0]],
                linestyle=look.line,
                marker=look.marker,
                color=look.colour,
                markeredgecolor="black",
                markeredgewidth=self.size.font_pt / 16,
            )
            handles.append(line)
            for angle, estimate in zip(angles, found, strict=True):
                ends = [100 * estimate.low, 100 * estimate.high]
                width = self.size.font_pt / 10
                axes.plot([angle + aside] * 2, ends, color=look.colour, linewidth=width)
        axes.set_ylim(0, 100)
        axes.set_yticks([20, 40, 60, 80, 100])
        axes.set_rlabel_position(180 / len(self.tasks))
        axes.tick_params(axis="y", labelsize=0.75 * self.size.font_pt, labelcolor="#444444")
        self._name_axes(axes, angles)
        labels = [series.label for series in self.series]
        style.legend(figure, self.size, handles, labels)
        style.caption(figure, self.size, self._caption())
        return figure

    def _name_axes(self, axes: Any, angles: Sequence[float]) -> None:
        names = [name.replace("@", "\n@") for name in self.tasks]
        axes.set_xticks(angles, names)
        axes.tick_params(axis="x", pad=0.45 * self.size.font_pt)
        for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
            side = math.sin(angle)
            label.set_horizontalalignment(
                "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
            )

    def _caption(self) -> str:
        sizes = {
            name: sorted({estimate.n for estimate in found.values()})
            for name, found in self.tasks.items()
        }
        counts = ", ".join(
            f"{name} {' to '.join(f'{n:,}' for n in dict.fromkeys((ns[0], ns[-1])))}"
            for name, ns in sizes.items()
        )
        text = (
            f"Percent of each task's own metric, {self.profile} rules; radial bars, side by "
            f"side: 95 % intervals. n: {counts}."
        )
        if self.left_out:
            text += f" Not scored in every run, so left out: {', '.join(self.left_out)}."
        return text
