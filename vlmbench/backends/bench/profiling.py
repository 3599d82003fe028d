"""Where a backend's time goes on work shaped like the tasks, and how near to the machine's limits.

The work counted is what was done, not what was asked for: a picture that five questions share is
encoded once. Bytes are those of the weights, which every pass of the decoder reads once; keys and
values come on top, so the share of the memory's rate is a lower bound.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vlmbench.backends.bench.ceilings import Ceilings
from vlmbench.backends.bench.latency import answers
from vlmbench.backends.bench.workloads import DrawnPicture, Question, draw, shape_of
from vlmbench.backends.protocol import Backend, Forecast
from vlmbench.schema import Message, Probe, Request, Response

STAGES = (
    *("image_wait", "encode", "connector"),
    *("prefill", "prefill_sampling", "decode", "decode_sampling"),
)
"""Of the engine's seconds; "connector" and the two kinds of sampling are parts of others."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Profiled(Backend, Protocol):
    """A backend whose `probe().work` tells its stages."""

    def profile(self) -> None:
        """Tell stages apart from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of a workload's wall time."""

    name: str
    seconds: float
    flops: float | None = None
    """Work done in it; None: it has none to speak of."""

    num_bytes: float | None = None
    """Of weights read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One workload."""

    workload: str
    n: int
    seconds: float
    stages: tuple[Stage, ...]
    work: Mapping[str, int]
    """What the backend counted."""


def profile(
    backend: Profiled, forecast: Forecast, workload: str, num_pictures: int, scale: float = 1.0
) -> Profile:
    """Runs a workload twice, the first time to warm up.

    Raises: VlmbenchError where the backend fails on a request.
    """
    backend.profile()
    questions = draw(shape_of(workload), num_pictures, seed=1, scale=scale)
    asked = [_request(index, question) for index, question in enumerate(questions)]
    answers(backend, asked)
    before = backend.probe()
    start = time.perf_counter()
    responses = answers(backend, asked)
    seconds = time.perf_counter() - start
    after = backend.probe()
    counts = _difference(before.work, after.work)
    return Profile(
        workload=workload,
        n=len(asked),
        seconds=seconds,
        stages=tuple(_stages(seconds, counts, questions, responses, forecast, after)),
        work={name: value for name, value in counts.items() if isinstance(value, int)},
    )


def share(stage: Stage, ceilings: Ceilings) -> tuple[float | None, float | None]:
    """Of the machine's arithmetic and of its memory, each from 0 to 1; None: nothing counted."""
    if not stage.seconds:
        return None, None
    return (
        None if stage.flops is None else stage.flops / stage.seconds / ceilings.flops_per_s,
        None if stage.num_bytes is None else stage.num_bytes / stage.seconds / ceilings.bytes_per_s,
    )


def _request(index: int, question: Question) -> Request:
    message = Message(role="user", content=(*question.pictures, question.text))
    return Request(
        id=f"{index:06}",
        image_group=str(index),
        messages=(message,),
        max_new_tokens=question.num_new,
    )


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Counts and seconds of what happened in between."""
    counts: dict[str, Any] = {
        name: value - before[name] for name, value in after.items() if isinstance(value, int)
    }
    counts["seconds"] = {
        stage: value - before["seconds"].get(stage, 0.0)
        for stage, value in after["seconds"].items()
    }
    return counts


def _stages(
    seconds: float,
    counts: Mapping[str, Any],
    questions: Sequence[Question],
    responses: Sequence[Response],
    forecast: Forecast,
    probe: Probe,
) -> list[Stage]:
    spent: Mapping[str, float] = counts["seconds"]
    took = {name: spent.get(name, 0.0) for name in ("image_wait", "encode", "connector", "prefill")}
    took |= {
        name: spent.get(name, 0.0) for name in ("decode", "prefill_sampling", "decode_sampling")
    }
    flops = _flops(questions, responses, forecast)
    computed = counts["num_prefill_tokens"] / max(1, counts["num_prompt_tokens"])
    weights = forecast.flops([], 1, 2)["decode"] / 2 * BYTES.get(probe.dtype, 4)
    stages = [
        Stage(name="pictures", seconds=took["image_wait"]),
        Stage(name="vision", seconds=took["encode"] - took["connector"], flops=flops["vision"]),
        Stage(name="connector", seconds=took["connector"], flops=flops["connector"]),
        Stage(
            name="prefill",
            seconds=took["prefill"] - took["prefill_sampling"],
            flops=flops["prefill"] * computed,
            num_bytes=weights * counts["num_prefill_steps"],
        ),
        Stage(
            name="decode",
            seconds=took["decode"] - took["decode_sampling"],
            flops=flops["decode"],
            num_bytes=weights * counts["num_decode_steps"],
        ),
        Stage(name="sampling", seconds=took["prefill_sampling"] + took["decode_sampling"]),
    ]
    rest = seconds - sum(stage.seconds for stage in stages)
    return [*stages, Stage(name="python", seconds=rest)]


def _flops(
    questions: Sequence[Question], responses: Sequence[Response], forecast: Forecast
) -> dict[str, float]:
    """Vision and connector of each picture once; prefill and decode of all answers."""
    pictures: set[DrawnPicture] = {p for question in questions for p in question.pictures}
    total = dict.fromkeys(("vision", "connector", "prefill", "decode"), 0.0)
    for picture in pictures:
        work = forecast.flops([picture.size], 0, 1)
        total["vision"] += work["vision"]
        total["connector"] += work["connector"]
    for response in responses:
        assert response.prompt_tokens is not None and response.generated_tokens is not None
        work = forecast.flops([], response.prompt_tokens, max(1, response.generated_tokens))
        total["prefill"] += work["prefill"]
        total["decode"] += work["decode"]
    return total
