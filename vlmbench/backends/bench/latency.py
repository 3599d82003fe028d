"""Latency and throughput of a backend, with one request at a time and with many.

Pictures are synthetic, each shown once, so that requests share nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from vlmbench.backends.bench.workloads import INSTRUCTION, picture
from vlmbench.backends.protocol import Backend
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request, Response

NUM_WARMUPS = 2
QUANTILES = (50, 90, 99)
QUESTION = f"what is the color of the car on the left ?\n{INSTRUCTION}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Percentiles of a time, in seconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Latency and throughput of one kind of request."""

    side: int
    """The pictures' longer side, in pixels."""

    at_once: int
    """Number of requests that the backend is given at a time."""

    n: int
    visual_tokens: int | None
    """Visual tokens per request."""

    total: Quantiles
    first_token: Quantiles | None
    token: Quantiles | None
    """Time per output token after the first."""

    answers_per_s: float
    tokens_per_s: float | None
    flops: float | None
    """Mean FLOPs of an answer."""

    peak_device_memory_bytes: int | None

    @property
    def flops_per_s(self) -> float | None:
        """Achieved FLOP/s; None if the backend counts no FLOPs. Answers share no work here."""
        return None if self.flops is None else self.flops * self.answers_per_s


def requests(side: int, number: int, num_new: int, seed: int) -> list[Request]:
    """Requests about different pictures with this longer side, four to three."""
    return [
        Request(
            id=f"{side}/{seed + index}",
            image_group=f"{side}/{seed + index}",
            messages=(
                Message(
                    role="user",
                    content=(picture(side, max(1, side * 3 // 4), seed + index), QUESTION),
                ),
            ),
            max_new_tokens=num_new,
        )
        for index in range(number)
    ]


def measure(backend: Backend, side: int, *, at_once: int, number: int, num_new: int) -> Latency:
    """Measure after a warm-up; the backend is given `at_once` requests together, then the next.

    Raises: VlmbenchError where the backend fails on a request.
    """
    asked = requests(side, number, num_new, seed=NUM_WARMUPS)
    answers(backend, requests(side, NUM_WARMUPS, num_new, seed=0))
    totals: list[float] = []
    found: list[Response] = []
    start = time.perf_counter()
    for first in range(0, number, at_once):
        begun = time.perf_counter()
        given = answers(backend, asked[first : first + at_once])
        took = time.perf_counter() - begun
        totals += [took] if at_once == 1 else [r.timings.total_s or took for r in given]
        found += given
    seconds = time.perf_counter() - start
    tokens = [r.generated_tokens for r in found if r.generated_tokens is not None]
    flops = [r.flops for r in found if r.flops is not None]
    whole = quantiles(totals)
    assert whole is not None
    return Latency(
        side=side,
        at_once=at_once,
        n=number,
        visual_tokens=found[0].visual_tokens,
        total=whole,
        first_token=quantiles([r.timings.first_token_s for r in found]),
        token=quantiles([_token_s(r) for r in found]),
        answers_per_s=number / seconds,
        tokens_per_s=sum(tokens) / seconds if tokens else None,
        flops=sum(flops) / len(flops) if flops else None,
        peak_device_memory_bytes=backend.probe().peak_device_memory_bytes,
    )


def quantiles(values: Sequence[float | None]) -> Quantiles | None:
    """Percentiles by the nearest rank; None without any value."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    p50, p90, p99 = (known[-(-percent * len(known) // 100) - 1] for percent in QUANTILES)
    return Quantiles(p50=p50, p90=p90, p99=p99)


def answers(backend: Backend, asked: Sequence[Request]) -> list[Response]:
    """The responses to these requests.

    Raises: VlmbenchError where the model failed on one.
    """
    found = list(backend.generate(asked))
    for response in found:
        if response.error:
            raise VlmbenchError(f"the model failed on a synthetic picture: {response.error}")
    return found


def _token_s(response: Response) -> float | None:
    decode_s, number = response.timings.decode_s, response.generated_tokens
    return decode_s / (number - 1) if decode_s is not None and number and number > 1 else None
