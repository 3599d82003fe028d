"""What a run would do, before a model is loaded or a file written."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlmbench.backends import registry
from vlmbench.backends.protocol import Forecast
from vlmbench.errors import VlmbenchError
from vlmbench.runs import plan
from vlmbench.runs.job import Plan
from vlmbench.tables import aligned
from vlmbench.task.binding import BoundTask, pictures_of

MEASURED = 200
"""Samples of a task, evenly spread, whose requests are built to foretell its tokens and FLOPs."""

CHARACTERS_A_TOKEN = 4
"""Of English under Mistral's vocabulary: a forecast needs no tokenizer."""

ANSWER_TOKENS = 4
"""Of a short answer or a letter; `max_new_tokens` is a bound that few answers reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Means:
    """Of one request; NaN: the backend cannot tell."""

    pictures: float
    visual_tokens: float
    flops: float


def described(planned: Plan) -> str:
    """The plan as tables: what each task asks, and what each worker gets."""
    forecast = registry.forecast(planned.job.model, planned.job.settings)
    rows = []
    flops = 0.0
    for source in planned.sources:
        items = [item for item in planned.items if item.task == source.name]
        means = _means(source, [item.index for item in items], forecast)
        flops += means.flops * len(items)
        rows.append(
            (
                source.name,
                f"{len(items):,}",
                f"{len({item.image_group for item in items}):,}",
                f"{means.pictures:.2f}",
                _number(means.visual_tokens),
                _number(means.visual_tokens * len(items)),
                _number(means.flops * len(items) / 1e12),
            )
        )
    header = (
        "task",
        "samples",
        "groups",
        "pictures each",
        "visual tokens each",
        "in all",
        "TFLOPs",
    )
    job = planned.job
    lines = [
        f"model {job.model}, prompts {job.prompt.style}, run folder {planned.folder}",
        "",
        aligned(header, rows),
        "",
        _workers(planned),
    ]
    if not math.isnan(flops):
        rate = matmul_rate()
        seconds = flops / rate / planned.num_workers
        lines += [
            "",
            f"at least {seconds:,.0f} s on CPU workers like this process "
            f"({rate / 1e9:,.0f} GFLOP/s in matrix products; a GPU was not measured)",
        ]
    return "\n".join(lines)


def _means(source: BoundTask, indices: Sequence[int], forecast: Forecast | None) -> _Means:
    step = max(1, len(indices) // MEASURED)
    pictures, tokens, flops = [], [], []
    for row in source.rows.take(indices[::step]):
        try:
            request = source.request(source.task.read(row))
        except VlmbenchError:
            continue  # the run records why it cannot be asked
        shown = pictures_of(request)
        pictures.append(len(shown))
        if forecast is None:
            continue
        sizes = [picture.size for picture in shown if all(picture.size)]
        text = sum(len(p) for m in request.messages for p in m.content if isinstance(p, str))
        num_new = min(ANSWER_TOKENS, request.max_new_tokens)
        tokens.append(forecast.visual_tokens(sizes))
        work = forecast.flops(sizes, text // CHARACTERS_A_TOKEN + 1, num_new)
        flops.append(sum(work.values()))
    return _Means(pictures=_mean(pictures), visual_tokens=_mean(tokens), flops=_mean(flops))


def _workers(planned: Plan) -> str:
    total = sum(item.cost for item in planned.items)
    rows = [
        (str(number), f"{len(share):,}", f"{100 * sum(i.cost for i in share) / total:.1f} %")
        for number, share in enumerate(plan.assign(planned.items, planned.num_workers))
    ]
    return aligned(("worker", "samples", "of the work"), rows)


def matmul_rate(size: int = 768, repeats: int = 5) -> float:
    """FLOPs a second of a square float32 matrix product in this process: the best of some."""
    x = np.ones((size, size), dtype=np.float32)
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        x @ x
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
