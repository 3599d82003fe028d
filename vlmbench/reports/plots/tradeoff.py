"""Accuracy against what it costs, of one task or of the mean of several, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from vlmbench.reports import costs
from vlmbench.reports.board.baselines import System
from vlmbench.reports.plots import labels, style
from vlmbench.reports.plots.front import NUM_DRAWS, drawn_costs, on_front, pareto_front
from vlmbench.reports.plots.points import Beside, Scope, Span, beside
from vlmbench.reports.plots.series import (
    Curve,
    Drawing,
    Drawings,
    Series,
    Skipped,
    described,
    metric_of,
    scored,
)
from vlmbench.reports.plots.style import Look, Size
from vlmbench.reports.plots.ticks import set_linear, set_logarithmic
from vlmbench.runs.folder.costs import Figure as Cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = (
    *("tokens", "ttft", "latency", "device-time", "flops", "device-memory", "host-memory"),
    *("energy", "price"),
)
"""Costs that are drawn where they are known, by their names on the command line."""

LABEL_PT = 0.8
"""Size of the names of points, in the figure's."""

LOGARITHMIC_FROM = 5
"""Largest over smallest cost from which the axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class _Point:
    series: Series
    score: Span
    cost: Span
    share: float
    """Of the bootstrap draws in which it is on the front."""

    @property
    def name(self) -> str:
        if self.share < 0.005:
            return self.series.short
        return f"{self.series.short} ({100 * self.share:.0f} %)"


def drawings(
    scope: Scope, systems: Sequence[System], size: Size, wanted: Sequence[str] = ()
) -> Drawings:
    """A figure for each cost that is known of a run; `wanted`: these costs, and why not."""
    reported = beside(systems, scope)
    bootstrapped = None
    num_drawn = 0
    for name in wanted or AXES:
        cost = costs.figure(name)
        if name == "host-memory" and not wanted and _knows_device_memory(scope):
            continue
        spans = scope.costs(cost)
        known = [index for index, span in enumerate(spans) if span is not None]
        others = reported if name == "tokens" else []
        if len(known) + len(others) < 2 or not known:
            if wanted:
                yield Skipped(f"{scope.name}: {_lacking(cost, len(known))}")
            continue
        if bootstrapped is None:
            bootstrapped = scope.bootstrapped()
        found = [span for span in spans if span is not None]
        shares = on_front(
            bootstrapped[known],
            drawn_costs(found, NUM_DRAWS),
            [(other.cost, other.score) for other in others],
        )
        scores, series = scope.scores(), scope.series
        points = [
            _Point(series[index], scores[index], span, float(share))
            for index, span, share in zip(known, found, shares, strict=True)
        ]
        num_drawn += 1
        yield Drawing(
            f"tradeoff-{name}-{scope.name}", size, _Draw(scope, cost, points, others, size)
        )
    if not num_drawn and not wanted:
        yield Skipped(
            f"{scope.name}: a trade-off takes two points of known cost; name several runs, or make "
            "some with vlmbench sweep"
        )


def _knows_device_memory(scope: Scope) -> bool:
    return any(span is not None for span in scope.costs(costs.figure("device-memory")))


def _lacking(cost: Cost, num_known: int) -> str:
    if not num_known:
        return f"no run has {cost.title}"
    return f"{cost.title} is known of one run, and a trade-off takes two points"


def _steps(front: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float, float, float]]:
    """The front's line, as bars."""
    for (cost, score), (dearer, better) in pairwise(front):
        yield cost, score, dearer, score
        yield dearer, score, dearer, better


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws one figure when called."""

    scope: Scope
    cost: Cost
    points: Sequence[_Point]
    reported: Sequence[Beside]
    size: Size

    def __call__(self) -> Figure:
        figure = style.new_figure(self.size, self.size.height_in)
        axes = figure.add_subplot()
        handles: list[Any] = []
        names: list[str] = []
        for look, curve, points in self._groups():
            handle = self._draw_group(axes, look, points, is_joined=curve is not None)
            if curve is not None:
                handles.append(handle)
                names.append(self._curve_name(curve))
        if self.reported:
            handles.append(self._draw_reported(axes))
            names.append("reported by others")
        front = pareto_front(
            [(point.cost[0], point.score[0]) for point in self.points]
            + [(one.cost, one.score) for one in self.reported]
        )
        self._set_axes(axes)
        if len(front) > 1:
            (line,) = axes.plot(*zip(*front, strict=True), drawstyle="steps-post", color="#000000")
            line.set(linewidth=self.size.font_pt / 12, linestyle=":", zorder=1)
            handles.append(line)
            names.append("Pareto front")
        style.title(axes, self.size, self._title())
        if handles:
            style.legend(figure, self.size, handles, names)
        style.caption(figure, self.size, self._caption())
        own = [(point.cost[0], point.score[0], self._label(point)) for point in self.points]
        others = [(one.cost, one.score, one.system) for one in self.reported]
        is_logarithmic = axes.get_xscale() == "log"
        bars = [*self._bars(), *_steps(front), *self._dots_of_curves(is_logarithmic)]
        labels.place(axes, own, others, bars, LABEL_PT * self.size.font_pt)
        return figure

    def _label(self, point: _Point) -> str:
        return style.wrapped(point.name, LABEL_PT * self.size.font_pt, 0.4 * self.size.width_in)

    def _groups(self) -> list[tuple[Look, Curve | None, list[_Point]]]:
        """Points of one curve together, in the order of its values; any other by itself."""
        groups: dict[object, list[_Point]] = {}
        for point in self.points:
            groups.setdefault(point.series.curve or id(point), []).append(point)
        return [
            (
                style.look(index),
                points[0].series.curve,
                sorted(points, key=lambda point: point.series.place),
            )
            for index, points in enumerate(groups.values())
        ]

    def _draw_group(
        self, axes: Axes, look: Look, points: Sequence[_Point], *, is_joined: bool
    ) -> Any:
        costs, scores = ([span[0] for span in one] for one in self._spans(points))
        xerr, yerr = (
            [[v - low for v, low, _ in spans], [high - v for v, _, high in spans]]
            for spans in self._spans(points)
        )
        has_intervals = any(low < high for _, low, high in self._spans(points)[0])
        return axes.errorbar(
            costs,
            scores,
            xerr=xerr if has_intervals else None,
            yerr=yerr,
            marker=look.marker,
            linestyle=look.line if is_joined else "none",
            color=look.colour,
            linewidth=self.size.font_pt / 8,
            markeredgecolor="black",
            markeredgewidth=self.size.font_pt / 16,
            capsize=self.size.font_pt / 4,
            elinewidth=self.size.font_pt / 14,
            zorder=3,
        )

    @staticmethod
    def _spans(points: Sequence[_Point]) -> tuple[list[Span], list[Span]]:
        return [point.cost for point in points], [point.score for point in points]

    def _draw_reported(self, axes: Axes) -> Any:
        return axes.scatter(
            [one.cost for one in self.reported],
            [one.score for one in self.reported],
            marker="x",
            s=1.6 * self.size.font_pt**2 / 3,
            color=style.REPORTED,
            linewidths=self.size.font_pt / 9,
        )

    def _curve_name(self, curve: Curve) -> str:
        parts = [curve.sweep.name] if len({s for s in self._sweeps()}) > 1 else []
        parts += [curve.others] if curve.others else []
        return f"{', '.join(parts)}: {curve.setting}" if parts else f"over {curve.setting}"

    def _sweeps(self) -> Iterator[Any]:
        for point in self.points:
            if point.series.curve is not None:
                yield point.series.curve.sweep

    def _title(self) -> str:
        models = {point.series.run.model for point in self.points}
        own = f"{models.pop()}, " if len(models) == 1 else ""
        return own + self.scope.title

    def _bars(self) -> Iterator[tuple[float, float, float, float]]:
        """Both intervals of each run, in the axes' units."""
        for point in self.points:
            (cost, cost_low, cost_high), (score, low, high) = point.cost, point.score
            yield cost_low, score, cost_high, score
            yield cost, low, cost, high

    def _dots_of_curves(self, is_logarithmic: bool) -> Iterator[tuple[float, float, float, float]]:
        """Points along the curves, as bars of no length."""
        for _, curve, points in self._groups():
            for a, b in pairwise(points) if curve is not None else ():
                for part in (index / 10 for index in range(1, 10)):
                    x, to_x = a.cost[0], b.cost[0]
                    cost = x * (to_x / x) ** part if is_logarithmic else x + part * (to_x - x)
                    score = a.score[0] + part * (b.score[0] - a.score[0])
                    yield cost, score, cost, score

    def _set_axes(self, axes: Axes) -> None:
        axes.set_xlabel(self.cost.axis)
        metrics = {metric_of(cells[0].task) for cells in self.scope.tasks}
        axes.set_ylabel(metrics.pop() if len(metrics) == 1 else "mean score (%)")
        ends = [x for p in self.points for x in (p.cost[1], p.cost[2])]
        ends += [one.cost for one in self.reported]
        least, most = min(ends), max(ends)
        if least > 0 and most / least > LOGARITHMIC_FROM:
            room = (most / least) ** 0.12
            set_logarithmic(axes, least / room, most * room)
        else:
            middle, half = (least + most) / 2, 0.66 * (most - least)
            half = max(half, 0.25 * middle) or 1.0  # a small difference looks small
            set_linear(axes.xaxis, max(0.0, middle - half), middle + half)
        low = min([p.score[1] for p in self.points] + [r.score for r in self.reported])
        high = max([p.score[2] for p in self.points] + [r.score for r in self.reported])
        margin = max(1.0, 0.1 * (high - low))
        set_linear(axes.yaxis, max(0.0, low - margin), min(102.0, high + margin))

    def _caption(self) -> str:
        parts = [described(scored(cells)) for cells in self.scope.tasks]
        text = parts[0]
        if len(parts) > 1:
            cell = self.scope.tasks[0][0]
            names = ", ".join(cells[0].task.name for cells in self.scope.tasks)
            text = (
                f"Mean of {names}, each counting the same; {cell.profile} rules; 95 % intervals, "
                "clustered by picture."
            )
            text += " Stand-ins, not the benchmarks." if cell.task.is_mini else ""
        if any(point.name != point.series.short for point in self.points):
            text += (
                f" In brackets: in so many of {NUM_DRAWS:,} bootstrap draws of the pictures the "
                "point is on the front."
            )
        if any(point.cost[1] < point.cost[2] for point in self.points):
            text += " Horizontal bars: 95 % intervals of the median."
        if any(math.isfinite(one.cost) for one in self.reported):
            text += " Reported results have their own harnesses and no interval;"
            text += " they are named where there is room."
        return text
