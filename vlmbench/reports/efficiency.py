"""What answers cost: tokens, time, memory, work and energy, from a run's own log.

Unknown is None, never 0. Times are those of the run's batch size and machine: a batch's answers
come together, so latencies say what a client of this run would have seen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlmbench.reports.time_spent import Part, time_spent
from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.runs.folder.responses import ResponseRecord
from vlmbench.runs.folder.usage import Session

PEAK_FLOPS: Mapping[str, Mapping[str, float]] = {
    "H200": {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12},
    "H100 80GB HBM3": {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12},
    "H100 PCIe": {"bfloat16": 756e12, "float16": 756e12, "float32": 51e12},
    "A100": {"bfloat16": 312e12, "float16": 312e12, "float32": 19.5e12},
    "L40S": {"bfloat16": 362e12, "float16": 362e12, "float32": 91.6e12},
    "L4": {"bfloat16": 121e12, "float16": 121e12, "float32": 30.3e12},
    "V100": {"float16": 125e12, "float32": 15.7e12},
    "T4": {"float16": 65e12, "float32": 8.1e12},
}
"""FLOP/s without sparsity, from NVIDIA's data sheets; float32 outside the tensor cores, which
torch leaves unused for it unless told. A device's is the first whose name is in its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a figure is spread over the samples that have it."""

    n: int
    mean: float
    p10: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Costs of a task in a run, or of a whole run; over answered samples, unless said otherwise."""

    name: str
    """`TASK@SPLIT`; empty for a whole run."""

    num_samples: int
    """Answered."""

    num_failed: int
    num_images: int
    """Pictures in their prompts, those of examples included."""

    visual_tokens_per_image: Spread | None
    """Over pictures; those of one prompt count as equal, since the log has their sum."""

    visual_tokens_histogram: Mapping[int, int] = field(default_factory=dict)
    """Tokens of a picture, rounded, to the number of pictures that have so many."""

    visual_tokens: Spread | None
    """Of a sample, as all that follow."""

    prompt_tokens: Spread | None
    """Visual ones included."""

    generated_tokens: Spread | None
    first_token_s: Spread | None
    """From the start of preprocessing."""

    per_token_s: Spread | None
    """Between one token and the next, of answers with more than one."""

    latency_s: Spread | None
    """End to end: waiting in the queue, preprocessing and the model."""

    busy_s: float | None
    """Wall time summed over devices, failed samples included; without the loading of the model.

    Of a task: its share, as tasks are run mixed.
    """

    samples_per_s: float | None
    """Of one device; with CPU workers, of one worker."""

    tokens_per_s: float | None
    """Generated, of one device."""

    peak_device_memory_bytes: int | None
    """The most that one device's tensors took, of workers that had a part in this and ended."""

    peak_host_memory_bytes: int | None
    """The most resident memory of one worker."""

    flops_per_sample: float | None
    """Mean computed work; of all answered samples or of none."""

    flops_utilisation: float | None
    """That work in the busy time, over the device's peak; None where the peak is unknown."""

    energy_per_sample_j: float | None
    """Of everything that could be metered: see `energy_of`. Idle power is in it."""

    energy_of: tuple[str, ...] = ()
    """"host" (processors and memory, RAPL), "device" (GPUs, NVML)."""

    num_parameters: int | None
    device: str
    """The accelerator's name, else "cpu", else empty; several are joined by ", "."""

    dtype: str


def of_task(task: FinishedTask) -> Efficiency:
    """Raises: VlmbenchError for a run's folder that is not whole."""
    parts = [spent.of(task.name) for spent in time_spent(task.folder)]
    return _efficiency(task.name, task.responses(), parts)


def _efficiency(
    name: str, records: Iterable[ResponseRecord], every_part: Sequence[Part | None]
) -> Efficiency:
    columns = _Columns()
    for record in records:
        columns.add(record)
    parts = [part for part in every_part if part is not None]
    sessions = [part.session for part in parts]
    busy_s = sum(part.seconds for part in parts) or None
    n, flops = columns.num_samples, columns.values["flops"]
    total_flops = sum(flops) if n and len(flops) == n else None
    tokens = columns.values["generated_tokens"]
    energy_j, energy_of = _energy(parts)
    peak = _peak_flops(sessions)
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
        flops_utilisation=total_flops / busy_s / peak if total_flops and busy_s and peak else None,
        energy_per_sample_j=energy_j / n if energy_j is not None and n else None,
        energy_of=energy_of,
        num_parameters=_most(s.num_parameters for s in sessions),
        device=_joined(s.device_name or s.device for s in sessions),
        dtype=_joined(s.dtype for s in sessions),
    )


class _Columns:
    """Collects the figures of records, without their texts."""

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
    """The first token is not decoded but prefilled; a stop id is decoded but not counted."""
    generated, decode_s = record.generated_tokens, record.timings.get("decode_s")
    if generated is None or decode_s is None:
        return None
    steps = generated - (record.finish_reason == "length")
    return decode_s / steps if steps > 0 else None


def _energy(parts: Sequence[Part]) -> tuple[float | None, tuple[str, ...]]:
    """Joules and what they are of; a source counts where all sessions have it."""
    total, sources = 0.0, []
    for source, joules in (
        ("host", [part.host_j for part in parts]),
        ("device", [part.device_j for part in parts]),
    ):
        known = [value for value in joules if value is not None]
        if parts and len(known) == len(parts):
            total += sum(known)
            sources.append(source)
    return (total if sources else None), tuple(sources)


def _peak_flops(sessions: Sequence[Session]) -> float | None:
    """None for an unknown device, and where sessions ran on several kinds."""
    kinds = {(session.device_name, session.dtype) for session in sessions}
    if len(kinds) != 1:
        return None
    name, dtype = kinds.pop()
    return next((peaks.get(dtype) for known, peaks in PEAK_FLOPS.items() if known in name), None)


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
