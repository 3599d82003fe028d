"""The points of a trade-off: runs and reported results, with a cost and a score each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlmbench.metrics.intervals import Floats, mean_interval
from vlmbench.reports.board.baselines import Reported, System
from vlmbench.reports.costs import over_tasks
from vlmbench.reports.plots import front
from vlmbench.reports.plots.front import Clusters
from vlmbench.reports.plots.series import Cell, Series
from vlmbench.runs.folder.costs import Costs, Figure

Span = tuple[float, float, float]
"""A value and the ends of its 95 % interval; of equal ends where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a figure's scores and costs are of: one task, or the mean of several."""

    name: str
    """Of the file: `TASK@SPLIT`, or "mean"."""

    title: str
    tasks: Sequence[Sequence[Cell]]
    """Of each task the runs' cells, all scored, in one order of runs."""

    @property
    def series(self) -> list[Series]:
        return [cell.series for cell in self.tasks[0]]

    def scores(self) -> list[Span]:
        """Score of each run in percent."""
        found = []
        for cells in zip(*self.tasks, strict=True):
            estimates = [cell.estimate for cell in cells]
            parts = [(e.mean, e.low, e.high) for e in estimates if e is not None]
            mean, low, high = mean_interval(parts)
            found.append((100 * mean, 100 * low, 100 * high))
        return found

    def bootstrapped(self) -> Floats:
        """Scores [run, draw] in percent."""
        parts = [
            front.bootstrapped([Clusters.of(cell.task, cell.profile) for cell in cells])
            for cells in self.tasks
        ]
        total: Floats = sum(parts[1:], start=parts[0])
        return total / len(parts)

    def costs(self, figure: Figure) -> list[Span | None]:
        """Cost of each run, in the unit that is shown; None where it is not known."""
        by_run = zip(*self.tasks, strict=True)
        return [_span(figure, [cell.costs for cell in cells]) for cells in by_run]


def _span(figure: Figure, costs: Sequence[Costs]) -> Span | None:
    value = over_tasks(figure, costs)
    if value is None:
        return None
    value /= figure.scale
    quantiles = [figure.quantiles(one) for one in costs]
    parts = [(q.p50, *q.ci95) for q in quantiles if q is not None and q.ci95 is not None]
    if len(parts) < len(costs):
        return value, value, value
    _, low, high = mean_interval(parts)
    return value, low / figure.scale, high / figure.scale


@dataclass(frozen=True, slots=True)
class Beside:
    """A reported result beside the runs."""

    system: str
    cost: float
    score: float


def beside(systems: Sequence[System], scope: Scope) -> list[Beside]:
    """Reported results against visual tokens; of several tasks those of systems that have all."""
    by_task = [
        {(one.system, one.tokens_per_image or 0): one.score for one in comparable(systems, cells)}
        for cells in scope.tasks
    ]
    shared = [key for key in by_task[0] if all(key in scores for scores in by_task)]
    return [
        Beside(system, tokens, sum(scores[system, tokens] for scores in by_task) / len(by_task))
        for system, tokens in shared
    ]


def comparable(systems: Sequence[System], cells: Sequence[Cell]) -> list[Reported]:
    """The reported results that compare with the runs, the most trusted per system and token count.

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


def scopes(tasks: Mapping[str, Sequence[Cell]], every: Sequence[Series]) -> list[Scope]:
    """The mean over the tasks that every run has scored, where there are several; then each."""
    scored = {name: [c for c in cells if c.estimate is not None] for name, cells in tasks.items()}
    shared = {name: cells for name, cells in scored.items() if len(cells) == len(every)}
    found = []
    if len(shared) > 1:
        names = ", ".join(shared)
        title = f"mean of {len(shared)} tasks" if len(shared) > 3 else f"mean of {names}"
        found.append(Scope(name="mean", title=title, tasks=list(shared.values())))
    return found + [
        Scope(name=name, title=name, tasks=[cells]) for name, cells in scored.items() if cells
    ]
