"""The costs of a run and of its tasks, summed up from the files of its folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from vlmbench.runs.folder import layout, single_stream
from vlmbench.runs.folder.costs import Costs, Offline
from vlmbench.runs.folder.responses import ResponseRecord, records
from vlmbench.runs.folder.usage import Session
from vlmbench.runs.folder.worker_time import (
    WorkerTime,
    covered_s,
    energy,
    held_s,
    num_devices,
    shares_of,
    worker_times,
)

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
"""Dense peak FLOP/s by part of a device's name and dtype, from NVIDIA's data sheets; the first name
that fits counts. float32 is without tensor cores, which torch uses for it only if told."""

HOUR_S = 3600.0


def of_task(folder: Path, task: str, usd_per_hour: float | None = None) -> Costs:
    """The costs of a task, `TASK@SPLIT`; what its folder does not tell is None."""
    return _priced(_of_folder(folder, _state(folder)).tasks.get(task, Costs()), usd_per_hour)


def of_run(folder: Path, usd_per_hour: float | None = None) -> Costs:
    """The costs of all tasks of a run together; no single stream."""
    return _priced(_of_folder(folder, _state(folder)).run, usd_per_hour)


def _priced(costs: Costs, usd_per_hour: float | None) -> Costs:
    """The price is one device's; where a client cannot see them, that of all it talks to."""
    if usd_per_hour is None or costs.offline is None or not costs.offline.samples_per_s:
        return costs
    held = costs.offline.device_seconds_per_sample
    seconds = 1 / costs.offline.samples_per_s if held is None else held
    return replace(costs, usd_per_1000_samples=1000 * seconds * usd_per_hour / HOUR_S)


@dataclass(frozen=True, slots=True)
class _RunCosts:
    run: Costs
    tasks: Mapping[str, Costs]


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes whenever a file does from which costs are summed up."""
    alone = folder / layout.SINGLE_STREAM
    paths = [*layout.responses_files(folder), *layout.usage_files(folder)]
    paths += [alone] if alone.exists() else []
    stats = ((path.name, path.stat()) for path in paths)
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@lru_cache(maxsize=8)
def _of_folder(folder: Path, state: object) -> _RunCosts:
    """All costs at once: reports ask for them task by task, and a log can be large."""
    sums: dict[str, _Sums] = {}
    counting: dict[tuple[str, str], _Answer | None] = {}
    texts: dict[tuple[str, str], tuple[str | None, str]] = {}
    alone = single_stream.of_last_place(single_stream.read(folder))
    for record in records(folder):
        key = record.task, record.id
        if record.response is None:
            counting.setdefault(key, None)
            continue
        counting[key] = _Answer.of(record)
        if record.id in alone.get(record.task, ()):
            texts[key] = record.response, record.prompt
    for (task, _), answer in counting.items():
        sums.setdefault(task, _Sums()).add(answer)
    times = worker_times(folder)
    tasks = {name: _costs(found, times, name) for name, found in sums.items()}
    for name, measured in alone.items():

        def answer_to(id: str, prompt: str, name: str = name) -> str | None:
            text, asked = texts.get((name, id), (None, ""))
            return text if asked == prompt else None

        found = single_stream.summary(measured.values(), answer_to)
        tasks[name] = replace(tasks.get(name, Costs()), single_stream=found)
    return _RunCosts(_costs(_Sums.of_all(sums.values()), times, None), tasks)


class _Answer(NamedTuple):
    """The numbers of the last answer to a sample: a log can have hundreds of thousands."""

    generated: float | None
    flops: float | None
    visual_tokens: float | None
    num_images: int
    is_truncated: bool | None
    """None: nobody says how it ended."""

    @staticmethod
    def of(record: ResponseRecord) -> _Answer:
        reason = record.finish_reason
        return _Answer(
            record.generated_tokens,
            record.flops,
            record.visual_tokens,
            len(record.images),
            None if reason == "unknown" else reason == "length",
        )


@dataclass(slots=True)
class _Sums:
    """What the answers of a task add up to; failed samples are left out."""

    n: int = 0
    generated: list[float] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    visual_tokens: list[float] = field(default_factory=list)
    """Of a prompt, for those with images."""

    num_images: int = 0
    """Of the prompts that `visual_tokens` has."""

    truncated: int = 0
    num_ends: int = 0
    """Answers of which it is known how they ended."""

    def add(self, answer: _Answer | None) -> None:
        """None: the sample failed."""
        if answer is None:
            return
        self.n += 1
        if answer.generated is not None:
            self.generated.append(answer.generated)
        if answer.flops is not None:
            self.flops.append(answer.flops)
        if answer.num_images and answer.visual_tokens is not None:
            self.visual_tokens.append(answer.visual_tokens)
            self.num_images += answer.num_images
        self.truncated += bool(answer.is_truncated)
        self.num_ends += answer.is_truncated is not None

    @staticmethod
    def of_all(parts: Iterable[_Sums]) -> _Sums:
        whole = _Sums()
        for part in parts:
            whole.n += part.n
            whole.generated += part.generated
            whole.flops += part.flops
            whole.visual_tokens += part.visual_tokens
            whole.num_images += part.num_images
            whole.truncated += part.truncated
            whole.num_ends += part.num_ends
        return whole


def _costs(sums: _Sums, times: Sequence[WorkerTime], task: str | None) -> Costs:
    """The costs of a task, or of the whole run, but for single stream and price."""
    mine = [one for one in times if task is None or one.may_have(task)]
    sessions = [one.session for one in mine]
    offline = _offline(sums, times, task)
    flops = math.fsum(sums.flops) / sums.n if sums.n and len(sums.flops) == sums.n else None
    held, peak = offline.device_seconds_per_sample, _peak_flops(sessions)
    return Costs(
        offline=offline,
        visual_tokens_per_image=(
            math.fsum(sums.visual_tokens) / sums.num_images if sums.num_images else None
        ),
        peak_device_memory_bytes=_most(s.peak_device_memory_bytes for s in sessions),
        peak_host_memory_bytes=_most(
            s.peak_host_memory_bytes
            for s in sessions
            if s.device  # else it is a client's
        ),
        flops_per_sample=flops,
        mfu=flops / held / peak if flops and held and peak else None,
        joules_per_sample=_joules(sums, mine, task),
        truncated=sums.truncated if sums.num_ends else None,
    )


def _offline(sums: _Sums, times: Sequence[WorkerTime], task: str | None) -> Offline:
    mine = [one for one in times if task is None or one.may_have(task)]
    kinds = sorted({one.session.device_name or one.session.device for one in mine} - {""})
    can_see = bool(mine) and all(one.session.device_name or one.session.device for one in mine)
    known = Offline(
        num_devices=num_devices(mine) if can_see else None, device=", ".join(kinds) or None
    )
    share = _share(times, task)
    if not share or not sums.n:
        return known
    seconds = covered_s(times) * share
    if not seconds:
        return known
    has_tokens = len(sums.generated) == sums.n
    return replace(
        known,
        samples_per_s=sums.n / seconds,
        tokens_per_s=math.fsum(sums.generated) / seconds if has_tokens else None,
        device_seconds_per_sample=held_s(times) * share / sums.n if can_see else None,
    )


def _share(times: Sequence[WorkerTime], task: str | None) -> float | None:
    """The task's part of all workers' time, in [0, 1]; None: unknown."""
    total = sum(one.seconds for one in times)
    if task is None:
        return 1.0 if total else None
    shares = shares_of(times, task)
    return sum(share.seconds for share in shares) / total if shares and total else None


def _joules(sums: _Sums, times: Sequence[WorkerTime], task: str | None) -> float | None:
    names = {name for one in times for name in one.parts or ()}
    found = [shares_of(times, name) for name in (names if task is None else {task})]
    shares = [share for some in found for share in some or ()]
    if not sums.n or any(some is None for some in found):
        return None
    joules, _ = energy(shares)
    return None if joules is None else joules / sums.n


def _peak_flops(sessions: Sequence[Session]) -> float | None:
    """Peak FLOP/s of the device; None if unknown, or if sessions ran on several kinds."""
    kinds = {(session.device_name, session.dtype) for session in sessions}
    if len(kinds) != 1:
        return None
    name, dtype = kinds.pop()
    return next((peaks.get(dtype) for known, peaks in PEAK_FLOPS.items() if known in name), None)


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
