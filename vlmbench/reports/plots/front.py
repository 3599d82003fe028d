"""The Pareto front, and how sure it is that a run is on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlmbench.metrics.intervals import Floats
from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.schema import Profile

NUM_DRAWS = 1000

MOST_RESAMPLED = 20_000_000
"""Clusters times draws that one task's bootstrap may take: seconds."""

SEED = 0

Z = 1.96


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both cost (less is better) and score; cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


@dataclass(frozen=True, slots=True)
class Clusters:
    """A run's scores on a task, summed up by cluster (picture)."""

    sums: Mapping[str, float]
    counts: Mapping[str, int]

    @classmethod
    def of(cls, task: FinishedTask, profile: Profile) -> Clusters:
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for record in task.scores():
            value = record.profiles.get(profile)
            if value is not None:
                sums[record.cluster] = sums.get(record.cluster, 0.0) + value
                counts[record.cluster] = counts.get(record.cluster, 0) + 1
        return cls(sums, counts)


def bootstrapped(runs: Sequence[Clusters], num_draws: int = NUM_DRAWS) -> Floats:
    """Scores [run, draw] in percent; a draw takes the same clusters for all runs (paired).

    Source: Efron and Tibshirani, 1993, resampling whole clusters, with replacement. A run of which
    a draw has no cluster scores 0 there.
    """
    names = sorted({name for run in runs for name in run.sums})
    sums = np.array([[run.sums.get(name, 0.0) for name in names] for run in runs])
    counts = np.array([[run.counts.get(name, 0) for name in names] for run in runs])
    draw = np.random.default_rng(SEED)
    num_made = max(1, min(num_draws, MOST_RESAMPLED // max(1, len(names))))
    scores = np.empty((len(runs), num_draws))
    for index in range(num_made):
        weights = np.bincount(draw.integers(len(names), size=len(names)), minlength=len(names))
        scores[:, index] = 100 * (sums @ weights) / np.maximum(counts @ weights, 1)
    scores[:, num_made:] = scores[:, np.arange(num_draws - num_made) % num_made]
    return scores


def drawn_costs(intervals: Sequence[tuple[float, float, float]], num_draws: int) -> Floats:
    """Costs [run, draw] of a value and the ends of its 95 % interval each, as if log-normal.

    One without an interval (equal ends) is the same in every draw.
    """
    draw = np.random.default_rng(SEED + 1)
    found = np.empty((len(intervals), num_draws))
    for index, (value, low, high) in enumerate(intervals):
        has_spread = 0 < low < high
        spread = (math.log(high) - math.log(low)) / (2 * Z) if has_spread else 0.0
        found[index] = value * np.exp(spread * draw.standard_normal(num_draws))
    return found


def on_front(
    scores: Floats, costs: Floats, fixed: Iterable[tuple[float, float]] = ()
) -> NDArray[np.float64]:
    """The share of draws in which each run is on the front; `fixed` are others (cost, score)."""
    others = np.array(list(fixed), dtype=np.float64).reshape(-1, 2)
    num_draws = scores.shape[1]
    every_score = np.vstack([scores, np.repeat(others[:, 1:], num_draws, 1)])
    every_cost = np.vstack([costs, np.repeat(others[:, :1], num_draws, 1)])
    shares = np.empty(len(scores))
    for index in range(len(scores)):
        is_no_dearer, is_no_worse = every_cost <= costs[index], every_score >= scores[index]
        is_better = (every_cost < costs[index]) | (every_score > scores[index])
        shares[index] = 1 - (is_no_dearer & is_no_worse & is_better).any(0).mean()
    return shares
