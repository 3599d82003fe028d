"""What a run would do, before a model is loaded or a file written."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlmbench.backends import registry
from vlmbench.backends.protocol import Forecast
from vlmbench.errors import VlmbenchError
from vlmbench.runs.dispatch import Dispatcher
from vlmbench.runs.job import Plan
from vlmbench.tables import aligned
from vlmbench.task.binding import BoundTask, pictures_of

MEASURED = 200
"""Samples of a task, evenly spread, whose requests are built to foretell its tokens and FLOPs."""

CHARACTERS_A_TOKEN = 4
"""English characters per Mistral token: a forecast needs no tokenizer."""

ANSWER_TOKENS = 4
"""Tokens of a short answer or letter; `max_new_tokens` is a bound few answers reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Means:
    """Means per request; NaN: backend cannot tell."""

    pictures: float
    visual_tokens: float
    flops: float


def figures(planned: Plan) -> dict[str, Any]:
    """What each task asks, and how the samples are handed out; None: the backend cannot tell."""
    forecast = registry.forecast(planned.job.model, planned.job.settings)
    tasks: list[dict[str, Any]] = []
    for source in planned.sources:
        items = [item for item in planned.items if item.task == source.name]
        means = _means(source, [item.index for item in items], forecast)
        tasks.append(
            {
                "task": source.name,
                "samples": len(items),
                "groups": len({item.image_group for item in items}),
                "pictures_each": _known(means.pictures),
                "visual_tokens_each": _known(means.visual_tokens),
                "visual_tokens": _known(means.visual_tokens * len(items)),
                "flops": _known(means.flops * len(items)),
            }
        )
    job, num_workers = planned.job, planned.num_workers or 1
    return {
        "model": job.model,
        "prompt_style": job.prompt.style,
        "run": str(planned.folder),
        "tasks": tasks,
        "workers": num_workers,
        "leases": _leases(planned, num_workers),
        "cpu": _cpu([task["flops"] for task in tasks], num_workers),
    }


def described(found: Mapping[str, Any]) -> str:
    """The figures of a plan as tables."""
    header = ["task", "samples", "groups", "pictures each", "visual tokens each", "in all"]
    rows = [
        (
            *(task["task"], f"{task['samples']:,}", f"{task['groups']:,}"),
            "-" if task["pictures_each"] is None else f"{task['pictures_each']:.2f}",
            *(_number(task["visual_tokens_each"]), _number(task["visual_tokens"])),
            _number(task["flops"], 1e12),
        )
        for task in found["tasks"]
    ]
    lines = [
        f"model {found['model']}, prompts {found['prompt_style']}, run folder {found['run']}",
        "",
        aligned([*header, "TFLOPs"], rows),
        "",
        _handed_out(found["workers"], found["leases"]),
    ]
    if cpu := found["cpu"]:
        lines += [
            "",
            f"at least {cpu['seconds']:,.0f} s on CPU workers like this process "
            f"({cpu['flops_per_s'] / 1e9:,.0f} GFLOP/s in matrix products; a GPU was not measured)",
        ]
    return "\n".join(lines)


def _cpu(flops: Sequence[float | None], num_workers: int) -> dict[str, float] | None:
    """The least time that CPU workers take, and their rate."""
    known = [one for one in flops if one is not None]
    if len(known) < len(flops):
        return None
    rate = matmul_rate()
    return {"seconds": sum(known) / rate / num_workers, "flops_per_s": rate}


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


def _leases(planned: Plan, num_workers: int) -> list[int]:
    """Samples of each lease, in the order in which workers are given them."""
    dispatcher = Dispatcher(planned.items)
    leases = iter(lambda: dispatcher.lease(num_workers), None)
    return [len(lease.items) for lease in leases]


def _handed_out(num_workers: int, leases: Sequence[int]) -> str:
    if num_workers == 1:
        return "1 worker is given all samples at once"
    return (
        f"{num_workers:,} workers are given {leases[0]:,} samples at first and more as they "
        f"finish, {leases[-1]:,} at last"
    )


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


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None, unit: float = 1) -> str:
    if value is None:
        return "-"
    return f"{value / unit:,.0f}" if value / unit >= 100 else f"{value / unit:,.2f}"
