"""Bars with intervals for the categories of a task: question types, subjects, skills."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlmbench.metrics.intervals import Estimate
from vlmbench.reports.plots import style
from vlmbench.reports.plots.series import (
    Cell,
    Drawing,
    Drawings,
    Skipped,
    described,
    metric_of,
    scored,
)
from vlmbench.reports.plots.style import Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 30
"""Number of categories that a figure shows, the largest first."""

NOT_CATEGORIES = ("vanilla", "split")
"""Dimensions of a breakdown that are not drawn: they do not divide samples by content."""


def drawings(name: str, cells: Sequence[Cell], size: Size, most: int | None = None) -> Drawings:
    """A figure for each dimension of a task's breakdown that has two categories or more.

    `most`: of so many dimensions, the first ones; None: of all.
    """
    found = scored(cells)
    dimensions = list(
        dict.fromkeys(
            dimension
            for cell, _ in found
            for dimension, categories in cell.task.summaries[cell.profile].breakdown.items()
            if dimension not in NOT_CATEGORIES and len(categories) > 1
        )
    )
    if not dimensions:
        yield Skipped(f"{name}: {'no categories' if found else 'no scores'} to draw bars of")
    for dimension in dimensions[:most]:
        yield Drawing(f"categories-{name}-{dimension}", size, _Draw(name, dimension, found, size))


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws one figure when called."""

    name: str
    dimension: str
    cells: Sequence[tuple[Cell, Estimate]]
    size: Size

    def __call__(self) -> Figure:
        every = self._estimates()
        sizes: dict[str, int] = {}
        for estimates in every:
            for key, estimate in estimates.items():
                sizes[key] = max(sizes.get(key, 0), estimate.n)
        shown = sorted(sizes, key=lambda key: (-sizes[key], key))[:MOST]
        labels = [textwrap.fill(f"{key} ({sizes[key]:,})", 30) for key in shown]
        lines = max(1.4 * len(every), 1.0 + max(label.count("\n") + 1 for label in labels))
        height = (lines * len(shown) * 0.62 + 7.5 + 1.2 * len(every)) * self.size.line_in
        figure = style.new_figure(self.size, height)
        axes = figure.add_subplot()
        handles = [
            self._draw_bars(axes, index, [e.get(key) for key in shown], len(every))
            for index, e in enumerate(every)
        ]
        axes.set_yticks(range(len(shown)), labels)
        axes.set_ylim(len(shown) - 0.45, -0.55)
        axes.set_xlim(0, 100)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(metric_of(self.cells[0][0].task))
        style.title(axes, self.size, f"{self.name}, {self.dimension.replace('_', ' ')}")
        if len(every) > 1:
            names = [cell.series.label for cell, _ in self.cells]
            style.legend(figure, self.size, handles, names)
        style.caption(figure, self.size, self._caption(len(shown), len(sizes)))
        return figure

    def _draw_bars(
        self, axes: Axes, index: int, column: Sequence[Estimate | None], num_runs: int
    ) -> Any:
        """One run's bars; None where it has no sample of a category."""
        thickness = 0.8 / num_runs
        present = [(row, estimate) for row, estimate in enumerate(column) if estimate is not None]
        rows = [row - 0.4 + thickness * (index + 0.5) for row, _ in present]
        means = [100 * estimate.mean for _, estimate in present]
        look = self.cells[index][0].series.look
        bars = axes.barh(
            rows,
            means,
            height=thickness,
            color=look.colour,
            hatch=look.hatch,
            edgecolor="white",
            linewidth=0,
        )
        low = [mean - 100 * e.low for mean, (_, e) in zip(means, present, strict=True)]
        high = [100 * e.high - mean for mean, (_, e) in zip(means, present, strict=True)]
        for colour, width in (("white", 3), ("black", 1)):  # seen on any bar
            axes.errorbar(
                means,
                rows,
                xerr=[low, high],
                fmt="none",
                ecolor=colour,
                capsize=self.size.font_pt / 5,
                elinewidth=width * self.size.font_pt / 14,
            )
        return bars

    def _estimates(self) -> list[Mapping[str, Estimate]]:
        return [
            cell.task.summaries[cell.profile].breakdown.get(self.dimension, {})
            for cell, _ in self.cells
        ]

    def _caption(self, num_shown: int, num_all: int) -> str:
        run = f"{self.cells[0][0].series.label}. " if len(self.cells) == 1 else ""
        least = f" The {num_shown} largest of {num_all}." if num_shown < num_all else ""
        return f"{run}{described(self.cells)} In brackets: samples of the category.{least}"
