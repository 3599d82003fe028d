"""Costs of two runs on one task: ratios, paired by sample where the costs are known of each one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vlmbench.metrics.intervals import precision, t_quantile
from vlmbench.runs.folder import single_stream
from vlmbench.runs.folder.costs import FIGURES, Figure
from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.runs.folder.responses import ResponseRecord
from vlmbench.runs.folder.single_stream import SingleStreamRecord

T = TypeVar("T")

FEWEST = 6
"""Pairs from which a ratio has an interval, as medians do."""

ALONE: Mapping[str, Callable[[SingleStreamRecord], float | None]] = {
    "single_stream.ttft_s": lambda one: one.timings.get("first_token_s"),
    "single_stream.preprocess_s": lambda one: one.timings.get("preprocess_s"),
    "single_stream.encode_s": lambda one: one.timings.get("encode_s"),
    "single_stream.prefill_s": lambda one: one.timings.get("prefill_s"),
    "single_stream.per_token_s": single_stream.per_token_s,
    "single_stream.latency_s": lambda one: one.latency_s,
}
"""What a request that was asked alone says of a figure."""

LOGGED: Mapping[str, Callable[[ResponseRecord], float | None]] = {
    "visual_tokens_per_image": lambda one: (
        one.visual_tokens / len(one.images) if one.images and one.visual_tokens else None
    ),
    "flops_per_sample": lambda one: one.flops,
}
"""What the log of the offline run says of a figure, sample by sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRatio:
    """One cost in both runs, and B's over A's."""

    figure: Figure
    a: float | None
    """In the figure's unit, over all that the run knows; None: unknown."""

    b: float | None
    ratio: float | None
    """Of single-stream times and of what is known sample by sample the geometric mean over the
    samples of both; of other figures b / a. None: a part is unknown or 0."""

    low: float | None = None
    """95 % interval of the ratio; None: it has no pairs, or too few."""

    high: float | None = None
    n: int | None = None
    """Pairs; None: the figure is one of the whole pass."""


def ratios(a: FinishedTask, b: FinishedTask) -> tuple[CostRatio, ...]:
    """Every cost that one of the runs knows."""
    of_a, of_b = a.costs, b.costs
    alone = [_alone(task) for task in (a, b)]
    logged = [_logged(task) for task in (a, b)]
    can_pair_times = _places_agree(*alone)
    found = []
    for key, figure in FIGURES.items():
        value_a, value_b = figure.value(of_a), figure.value(of_b)
        if value_a is None and value_b is None:
            continue
        if key in ALONE:
            pairs = _pairs(ALONE[key], *alone) if can_pair_times else []
        elif key in LOGGED:
            pairs = _pairs(LOGGED[key], *logged)
        else:
            plain = value_b / value_a if value_a and value_b is not None else None
            found.append(CostRatio(figure=figure, a=value_a, b=value_b, ratio=plain))
            continue
        ratio, low, high = _ratio(pairs)
        found.append(
            CostRatio(
                figure=figure, a=value_a, b=value_b, ratio=ratio, low=low, high=high, n=len(pairs)
            )
        )
    return tuple(found)


def paired_latency(a: FinishedTask, b: FinishedTask) -> tuple[list[float], str]:
    """Logarithms of B's single-stream latency over A's, sample by sample; if none, why."""
    of_a, of_b = _alone(a), _alone(b)
    for task, found in ((a, of_a), (b, of_b)):
        if not found:
            return [], f"{task.folder} has no request that was timed alone; run it with --latency N"
    threads = {one.place.num_threads for part in (of_a, of_b) for one in part.values()}
    if len(threads) > 1 or not _places_agree(of_a, of_b):
        return [], "the two runs were timed on different devices, threads or networks"
    return _pairs(ALONE["single_stream.latency_s"], of_a, of_b), ""


def _alone(task: FinishedTask) -> dict[str, SingleStreamRecord]:
    records = single_stream.of_last_place(single_stream.read(task.folder)).get(task.name, {})
    return {id: record for id, record in records.items() if record.counts}


def _places_agree(a: Mapping[str, SingleStreamRecord], b: Mapping[str, SingleStreamRecord]) -> bool:
    """False where times were measured on different devices, which says nothing of the models."""
    places = {(one.place.device, one.place.network) for part in (a, b) for one in part.values()}
    return len(places) == 1


def _logged(task: FinishedTask) -> dict[str, ResponseRecord]:
    return {one.id: one for one in task.responses() if one.response is not None}


def _pairs(
    value: Callable[[T], float | None], a: Mapping[str, T], b: Mapping[str, T]
) -> list[float]:
    """Natural logarithm of B's value over A's, of each sample that both have."""
    found = []
    for id in a.keys() & b.keys():
        old, new = value(a[id]), value(b[id])
        if old and new:
            found.append(math.log(new / old))
    return found


def _ratio(logs: list[float]) -> tuple[float | None, float | None, float | None]:
    """The geometric mean of paired ratios, and its 95 % interval by Student's t."""
    if not logs:
        return None, None, None
    mean = math.fsum(logs) / len(logs)
    if len(logs) < FEWEST:
        return math.exp(mean), None, None
    found = precision(np.array(logs), np.arange(len(logs)))
    half = t_quantile(0.975, found.degrees) * math.sqrt(found.variance)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
