"""Accuracy against what it costs: tokens per picture, latency, memory; with the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlmbench.metrics.intervals import Estimate
from vlmbench.reports import efficiency
from vlmbench.reports.board.baselines import Reported, System
from vlmbench.reports.efficiency import Efficiency, Spread
from vlmbench.reports.plots import labels, style
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
from vlmbench.reports.plots.ticks import set_logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class _Point:
    cell: Cell
    estimate: Estimate
    cost: Spread


@dataclass(frozen=True, slots=True)
class _Cost:
    name: str
    title: str
    """Of the axis, with its unit."""

    what: str
    """For a reason why it cannot be drawn."""

    of: Callable[[Efficiency], Spread | None]
    bar: str
    """What the horizontal bars are; empty: there are none."""


def _exactly(value: float | None) -> Spread | None:
    if value is None:
        return None
    return Spread(n=1, mean=value, p10=value, p50=value, p90=value, p99=value)


def _gigabytes(num_bytes: int | None) -> Spread | None:
    return _exactly(None if num_bytes is None else num_bytes / 1e9)


TOKENS = _Cost(
    "tokens",
    "visual tokens per picture",
    "visual tokens",
    lambda found: found.visual_tokens_per_image,
    "from the 10th to the 90th percentile of the pictures, point at the median",
)
LATENCY = _Cost(
    "latency",
    "end-to-end latency of a sample (s)",
    "timings",
    lambda found: found.latency_s,
    "from the 10th to the 90th percentile of the samples, point at the median",
)
DEVICE_MEMORY = _Cost(
    "memory",
    "peak device memory (GB)",
    "peak memory",
    lambda found: _gigabytes(found.peak_device_memory_bytes),
    "",
)
HOST_MEMORY = _Cost(
    "memory",
    "peak host memory (GB)",
    "peak memory",
    lambda found: _gigabytes(found.peak_host_memory_bytes),
    "",
)


def drawings(name: str, cells: Sequence[Cell], systems: Sequence[System], size: Size) -> Drawings:
    """Three figures of one task; the systems' results stand beside the runs' against tokens."""
    found = scored(cells)
    if not found:
        yield Skipped(f"{name}: no scores, so nothing to set against costs")
        return
    costs = [efficiency.of_task(cell.task) for cell, _ in found]
    on_device = any(cost.peak_device_memory_bytes is not None for cost in costs)
    memory = DEVICE_MEMORY if on_device else HOST_MEMORY
    for kind in (TOKENS, LATENCY, memory):
        spreads = [kind.of(cost) for cost in costs]
        points = [
            _Point(cell, estimate, spread)
            for (cell, estimate), spread in zip(found, spreads, strict=True)
            if spread is not None
        ]
        without = [
            cell.series.label
            for (cell, _), spread in zip(found, spreads, strict=True)
            if spread is None
        ]
        if without:
            yield Skipped(f"{name}: no {kind.what} in the log of {', '.join(without)}")
        if points:
            beside = comparable(systems, cells) if kind is TOKENS else ()
            yield Drawing(
                f"tradeoff-{kind.name}-{name}", size, _Draw(name, kind, points, beside, size)
            )


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws one figure when called."""

    name: str
    cost: _Cost
    points: Sequence[_Point]
    reported: Sequence[Reported]
    size: Size

    def __call__(self) -> Figure:
        figure = style.new_figure(self.size, self.size.height_in)
        axes = figure.add_subplot()
        runs = [self._draw_run(axes, point) for point in self.points]
        handles: list[Any] = list(runs)
        names = [point.cell.series.label for point in self.points]
        if self.reported:
            handles.append(
                axes.scatter(
                    [one.tokens_per_image or 0 for one in self.reported],
                    [one.score for one in self.reported],
                    marker="x",
                    s=1.6 * self.size.font_pt**2 / 3,
                    color=style.REPORTED,
                    linewidths=self.size.font_pt / 9,
                )
            )
            names.append("reported by others")
        front = pareto_front(
            [(point.cost.p50, 100 * point.estimate.mean) for point in self.points]
            + [(one.tokens_per_image or 0, one.score) for one in self.reported]
        )
        if len(front) > 1:
            steps = axes.plot(*zip(*front, strict=True), drawstyle="steps-post", color="#000000")
            steps[0].set(linewidth=self.size.font_pt / 12, linestyle=":", zorder=1)
            handles.append(steps[0])
            names.append("Pareto front")
        self._set_axes(axes)
        style.title(axes, self.size, self.name)
        style.legend(figure, self.size, handles, names)
        style.caption(figure, self.size, self._caption())
        if self.reported:
            places = [(one.tokens_per_image or 0, one.score, one.system) for one in self.reported]
            labels.place(axes, places, list(self._bars()), 0.75 * self.size.font_pt)
        return figure

    def _draw_run(self, axes: Axes, point: _Point) -> Any:
        mean, look, spread = 100 * point.estimate.mean, point.cell.series.look, point.cost
        return axes.errorbar(
            [spread.p50],
            [mean],
            xerr=[[spread.p50 - spread.p10], [spread.p90 - spread.p50]] if self.cost.bar else None,
            yerr=[[mean - 100 * point.estimate.low], [100 * point.estimate.high - mean]],
            fmt=look.marker,
            color=look.colour,
            markeredgecolor="black",
            markeredgewidth=self.size.font_pt / 16,
            capsize=self.size.font_pt / 4,
            elinewidth=self.size.font_pt / 10,
            zorder=3,
        )

    def _bars(self) -> Iterator[tuple[float, float, float, float]]:
        """Both intervals of each run, in the axes' units."""
        for point in self.points:
            cost, mean = point.cost, 100 * point.estimate.mean
            yield cost.p10, mean, cost.p90, mean
            yield cost.p50, 100 * point.estimate.low, cost.p50, 100 * point.estimate.high

    def _set_axes(self, axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.set_xlabel(self.cost.title)
        axes.set_ylabel(metric_of(self.points[0].cell.task))
        costs = [x for p in self.points for x in (p.cost.p10, p.cost.p90)]
        costs += [one.tokens_per_image or 0 for one in self.reported]
        if min(costs) > 0 and max(costs) / min(costs) > 5:
            set_logarithmic(axes, min(costs) / 1.4, max(costs) * 1.4)
        else:
            middle, half = (min(costs) + max(costs)) / 2, 0.62 * (max(costs) - min(costs))
            half = max(half, 0.25 * middle) or 1.0  # a small difference looks small
            axes.set_xlim(max(0.0, middle - half), middle + half)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        low = min([100 * p.estimate.low for p in self.points] + [r.score for r in self.reported])
        high = max([100 * p.estimate.high for p in self.points] + [r.score for r in self.reported])
        margin = max(1.0, 0.08 * (high - low))
        axes.set_ylim(max(0.0, low - margin), min(101.0, high + margin))

    def _caption(self) -> str:
        text = described([(point.cell, point.estimate) for point in self.points])
        if self.cost.bar:
            text += f" Horizontal bars: {self.cost.bar}."
        if self.reported:
            text += " Reported results have their own harnesses and no interval;"
            text += " they are named where there is room."
        return text


def comparable(systems: Sequence[System], cells: Sequence[Cell]) -> list[Reported]:
    """Of each system and number of tokens the most trusted result that the runs may stand beside.

    The same task, split, metric and number of examples, not fine-tuned, seen in its source, and
    with a known number of tokens per picture.
    """
    task = cells[0].task
    metrics = {task.metric, task.metric.replace("circular_", "")}
    best: dict[tuple[str, int], Reported] = {}
    for one in (result for system in systems for result in system.results):
        tokens = one.tokens_per_image
        fits = (one.task, one.split) == (task.task, task.split) and one.metric in metrics
        is_alike = one.shots in {cell.task.prompt.shots for cell in cells} and not one.is_finetuned
        if tokens is None or not (fits and is_alike and one.is_verified):
            continue
        key = one.system, tokens
        if key not in best or one.rank < best[key].rank:
            best[key] = one
    return list(best.values())


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both cost (less is better) and score; cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front
