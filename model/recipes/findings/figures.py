"""A figure for each finding, and accuracy against costs over all arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlmbench.reports.plots import style
from vlmbench.reports.plots.ticks import set_logarithmic

from .analysis import COMMONEST, chance
from .arm_files import ArmResult
from .arms import ARMS
from .comparisons import FINDINGS, Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .analysis import Compared, Laboratory

SIZE = style.Size(width_in=6.8, height_in=3.4, font_pt=7.5)
Cost = Callable[[ArmResult, str], float]
COSTS: tuple[tuple[Cost, str], ...] = (
    (lambda result, how: result.training_flops / 1e12, "training, TFLOP"),
    (
        lambda result, how: result.costs.get(f"{how}_answer_flops", 0) / 1e6,
        "answering, MFLOP a question",
    ),
)
"""Of an arm that is shown pictures whole or split; 0: not known."""


def write(
    laboratory: Laboratory, found: Mapping[int, Sequence[Compared]], folder: Path
) -> dict[int, str]:
    """Draws what there is; names of files by finding, 0 being that of costs."""
    drawn = {}
    for finding in FINDINGS:
        if found[finding.number]:
            drawn[finding.number] = f"finding-{finding.number}.png"
            _effects(found[finding.number], folder / drawn[finding.number])
    if laboratory.results:
        drawn[0] = "accuracy-costs.png"
        _costs(laboratory, folder / drawn[0])
    return drawn


def _effects(compared: Sequence[Compared], path: Path) -> None:
    """Effects with their intervals from top to bottom, the paper's beside them."""
    with style.applied(SIZE):
        figure = style.new_figure(SIZE, height_in=0.9 + 0.34 * len(compared))
        axes = figure.add_subplot()
        axes.axvline(0, color="#333333", linewidth=0.8)
        ours, flops, papers = style.look(0), style.look(1), style.look(2)
        for row, one in enumerate(compared):
            effect = one.equal_samples
            error = [[effect.value - effect.low], [effect.high - effect.value]]
            axes.errorbar(
                effect.value, row - 0.1, xerr=error, fmt=ours.marker, color=ours.colour, capsize=2,
                label="measured here, equal samples" if row == 0 else None,
            )  # fmt: skip
            if one.equal_flops is not None:
                effect = one.equal_flops
                error = [[effect.value - effect.low], [effect.high - effect.value]]
                axes.errorbar(
                    effect.value, row + 0.15, xerr=error, fmt=flops.marker, color=flops.colour,
                    capsize=2, alpha=0.7,
                )  # fmt: skip
            if one.comparison.papers is not None:
                axes.plot(
                    one.comparison.papers, row - 0.1, papers.marker, color=papers.colour,
                    markerfacecolor="none", markersize=7,
                )  # fmt: skip
        axes.plot([], [], flops.marker, color=flops.colour, label="equal training FLOPs")
        axes.plot(
            [], [], papers.marker, color=papers.colour, markerfacecolor="none", label="the paper"
        )
        axes.set_yticks(range(len(compared)), [one.comparison.text for one in compared])
        axes.set_ylim(len(compared) - 0.5, -0.5)
        axes.set_xlabel("effect in points, with its 95 % interval")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)
        style.save(figure, path)


def _costs(laboratory: Laboratory, path: Path) -> None:
    """The dotted line is the score of the commonest answers."""
    guessed = chance(laboratory, "all")[COMMONEST]
    with style.applied(SIZE):
        figure = style.new_figure(SIZE, height_in=SIZE.height_in)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, (cost, title) in zip((left, right), COSTS, strict=True):
            costs = _scatter(laboratory, axes, cost)
            set_logarithmic(axes, 0.8 * min(costs), 1.25 * max(costs))
            axes.axhline(guessed, color=style.REPORTED, linestyle=":", label="no look")
            axes.set_xlabel(title)
        left.set_ylabel("test score, %")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=7)
        style.save(figure, path)


def _scatter(laboratory: Laboratory, axes: Axes, cost: Cost) -> list[float]:
    """Arms as points, those of a finding in its look; gives the costs."""
    costs: list[float] = []
    for finding in FINDINGS:
        look = style.look(finding.number - 1)
        points = []
        for name, arm in ARMS.items():
            results = laboratory.of(name)
            if results and arm.finding == finding.number:
                for how in ("whole", "split"):
                    spent = cost(results[0], how)
                    if how in results[0].test and spent:
                        points.append((spent, laboratory.mean(Shown(name, how), "all")))
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, look.marker, color=look.colour, label=f"finding {finding.number}")
            costs += x
    return costs
