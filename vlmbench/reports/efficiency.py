"""What a run's log says of its samples: tokens, and times in the run's own queue and batches.

Unknown is None, never 0. The times are no latency: they grow with the number of samples and with
the batch. What a run costs is in `runs.folder.costs`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np

from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.runs.folder.responses import ResponseRecord
from vlmbench.runs.folder.usage import Session
from vlmbench.runs.folder.worker_time import TaskShare, energy, shares_of, worker_times


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and percentiles of a quantity over the samples for which it is known."""

    n: int
    mean: float
    p10: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Figure:
    """How the reports print one field of `Efficiency`."""

    title: str
    """Full name, in the viewer."""

    unit: Literal["", "s", "bytes", "flops", "share", "J"] = ""
    """Unit of the field's value; overview.js knows how to print each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Costs of a task in a run, over its answered samples unless said otherwise."""

    name: str
    """`TASK@SPLIT`."""

    num_samples: int
    """Number of answered samples."""

    num_failed: int
    num_images: int
    """Number of images in all prompts, those of few-shot examples included."""

    visual_tokens_per_image: Spread | None = field(
        metadata={"figure": Figure("visual tokens per picture")}
    )
    """Visual tokens over images; the log has a prompt's sum, which its images share evenly."""

    visual_tokens_histogram: Mapping[int, int] = field(default_factory=dict)
    """Number of images by their visual tokens, rounded."""

    visual_tokens: Spread | None
    """Visual tokens per sample."""

    prompt_tokens: Spread | None = field(metadata={"figure": Figure("prompt tokens")})
    """Prompt tokens per sample, visual tokens included."""

    generated_tokens: Spread | None = field(metadata={"figure": Figure("generated tokens")})
    first_token_s: Spread | None = field(
        metadata={"figure": Figure("time to first token, in the run's batches", "s")}
    )
    """Time to first token (TTFT), from the start of preprocessing."""

    per_token_s: Spread | None = field(
        metadata={"figure": Figure("time per further token, in the run's batches", "s")}
    )
    """Time per output token after the first (TPOT), of answers with more than one token."""

    latency_s: Spread | None = field(
        metadata={"figure": Figure("time in the run, queueing included", "s")}
    )
    """End-to-end latency: waiting in the queue, preprocessing, prefill and decode."""

    busy_s: float | None
    """The task's part of the workers' wall time, with failed samples, without model loading."""

    samples_per_s: float | None = field(
        metadata={"figure": Figure("samples per second and device")}
    )
    """Throughput of one device; with CPU workers, of one worker."""

    tokens_per_s: float | None = field(
        metadata={"figure": Figure("generated tokens per second and device")}
    )
    """Generated tokens per second of one device."""

    peak_device_memory_bytes: int | None = field(
        metadata={"figure": Figure("peak device memory", "bytes")}
    )
    """Peak tensor memory of one device, over workers that answered samples here and ended."""

    peak_host_memory_bytes: int | None = field(
        metadata={"figure": Figure("peak host memory", "bytes")}
    )
    """Peak resident memory of one worker."""

    flops_per_sample: float | None = field(metadata={"figure": Figure("FLOPs per sample", "flops")})
    """Mean FLOPs; None unless known for every answered sample."""

    flops_utilisation: float | None = field(
        metadata={"figure": Figure("model FLOPs utilisation", "share")}
    )
    """Model FLOPs utilisation (MFU): FLOP/s while busy over the device's peak, if that is known."""

    energy_per_sample_j: float | None = field(metadata={"figure": Figure("energy per sample", "J")})
    """Energy of what could be metered (see `energy_of`), idle power included."""

    energy_of: tuple[str, ...] = ()
    """Metered parts: "host" (processors and memory, by RAPL), "device" (GPUs, by NVML)."""

    num_parameters: int | None
    device: str
    """The accelerator's name, else "cpu", else empty; several are joined by ", "."""

    dtype: str


FIGURES: Mapping[str, Figure] = {
    one.name: one.metadata["figure"] for one in fields(Efficiency) if "figure" in one.metadata
}
"""The fields of `Efficiency` that reports print, in their order."""


def of_task(task: FinishedTask) -> Efficiency:
    """The efficiency of one task of a run.

    Raises: VlmbenchError for a run folder that is incomplete or damaged.
    """
    times = [one for one in worker_times(task.folder) if one.may_have(task.name)]
    sessions = [one.session for one in times]
    return _efficiency(
        task.name, task.responses(), sessions, shares_of(times, task.name) or [], task.costs.mfu
    )


def _efficiency(
    name: str,
    records: Iterable[ResponseRecord],
    sessions: Sequence[Session],
    shares: Sequence[TaskShare],
    mfu: float | None,
) -> Efficiency:
    columns = _Columns()
    for record in records:
        columns.add(record)
    busy_s = sum(share.seconds for share in shares) or None
    n, flops = columns.num_samples, columns.values["flops"]
    total_flops = sum(flops) if n and len(flops) == n else None
    tokens = columns.values["generated_tokens"]
    energy_j, energy_of = energy(shares)
    return Efficiency(
        name=name,
        num_samples=n,
        num_failed=columns.num_failed,
        num_images=columns.num_images,
        visual_tokens_per_image=_spread(columns.per_image),
        visual_tokens_histogram=columns.histogram(),
        visual_tokens=_spread(columns.values["visual_tokens"]),
        prompt_tokens=_spread(columns.values["prompt_tokens"]),
        generated_tokens=_spread(tokens),
        first_token_s=_spread(columns.values["first_token_s"]),
        per_token_s=_spread(columns.values["per_token_s"]),
        latency_s=_spread(columns.values["total_s"]),
        busy_s=busy_s,
        samples_per_s=n / busy_s if busy_s else None,
        tokens_per_s=sum(tokens) / busy_s if busy_s and n and len(tokens) == n else None,
        peak_device_memory_bytes=_most(s.peak_device_memory_bytes for s in sessions),
        peak_host_memory_bytes=_most(s.peak_host_memory_bytes for s in sessions),
        flops_per_sample=None if total_flops is None else total_flops / n,
        flops_utilisation=mfu,
        energy_per_sample_j=energy_j / n if energy_j is not None and n else None,
        energy_of=energy_of,
        num_parameters=_most(s.num_parameters for s in sessions),
        device=_joined(s.device_name or s.device for s in sessions),
        dtype=_joined(s.dtype for s in sessions),
    )


class _Columns:
    """Collects the numbers of response records, without their texts."""

    def __init__(self) -> None:
        self.num_samples = self.num_failed = self.num_images = 0
        self.values: dict[str, list[float]] = defaultdict(list)
        self.per_image: list[float] = []

    def add(self, record: ResponseRecord) -> None:
        if record.response is None:
            self.num_failed += 1
            return
        self.num_samples += 1
        timings, num_images = record.timings, len(record.images)
        self.num_images += num_images
        for name in ("visual_tokens", "prompt_tokens", "generated_tokens", "flops"):
            self._append(name, getattr(record, name))
        for name in ("first_token_s", "total_s"):
            self._append(name, timings.get(name))
        self._append("per_token_s", _per_token_s(record))
        if num_images and record.visual_tokens is not None:
            self.per_image += [record.visual_tokens / num_images] * num_images

    def _append(self, name: str, value: float | None) -> None:
        if value is not None:
            self.values[name].append(value)

    def histogram(self) -> dict[int, int]:
        found, counts = np.unique(np.rint(self.per_image).astype(np.int64), return_counts=True)
        return {int(tokens): int(count) for tokens, count in zip(found, counts, strict=True)}


def _per_token_s(record: ResponseRecord) -> float | None:
    """Decode time per decode step: prefill gives the first token; a stop token is not counted."""
    generated, decode_s = record.generated_tokens, record.timings.get("decode_s")
    if generated is None or decode_s is None:
        return None
    steps = generated - (record.finish_reason == "length")
    return decode_s / steps if steps > 0 else None


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    p10, p50, p90, p99 = np.percentile(values, (10, 50, 90, 99)).tolist()
    mean = math.fsum(values) / len(values)
    return Spread(n=len(values), mean=mean, p10=p10, p50=p50, p90=p90, p99=p99)


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted({name for name in names if name}))
