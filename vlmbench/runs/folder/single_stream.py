"""single-stream.jsonl: a line for each request that was asked alone, to measure its latency.

Its answers are never scored: they are compared with the log's.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from pathlib import Path

import numpy as np

from vlmbench import files
from vlmbench.runs.folder import layout
from vlmbench.runs.folder.costs import Place, Quantiles, SingleStream
from vlmbench.runs.folder.responses import TIMINGS
from vlmbench.schema import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStreamRecord:
    """One request that was asked alone, on an otherwise idle device, after a warm-up."""

    task: str
    """`TASK@SPLIT`."""

    id: str
    """The sample's."""

    response: str | None
    """None: it failed, and counts in no figure."""

    finish_reason: str
    error: str = ""
    attempt: int = 1
    """2 and more: the first attempt failed, so the time is of no answer to one request."""

    latency_s: float
    """From the request to its whole answer."""

    timings: Mapping[str, float] = field(default_factory=dict)
    """As in `ResponseRecord`."""

    generated_tokens: int | None = None
    peak_device_memory_bytes: int | None = None
    """None where requests in larger batches came before, whose peak hides this one's."""

    prompt: str = ""
    """As in `ResponseRecord`: answers to other prompts do not compare."""

    place: Place = field(default_factory=Place)
    worker: str = ""
    time: float = 0.0
    """When it was logged, in seconds since 1970."""

    @property
    def counts(self) -> bool:
        """True if its time is that of one answer to one request."""
        return self.response is not None and self.attempt == 1


def encoded(
    task: str,
    id: str,
    response: Response,
    *,
    latency_s: float,
    place: Place,
    peak_device_memory_bytes: int | None,
    prompt: str,
    worker: str,
    time: float,
) -> bytes:
    """The line of a response to a request that was asked alone."""
    timings = {name: getattr(response.timings, name) for name in TIMINGS}
    return files.encode(
        SingleStreamRecord(
            task=task,
            id=id,
            response=response.text,
            finish_reason=response.finish_reason,
            error=response.error,
            attempt=response.attempt,
            latency_s=latency_s,
            timings={name: value for name, value in timings.items() if value is not None},
            generated_tokens=response.generated_tokens,
            peak_device_memory_bytes=peak_device_memory_bytes,
            prompt=prompt,
            place=place,
            worker=worker,
            time=time,
        )
    )


def append(folder: Path, line: bytes) -> None:
    """Append an encoded record. Raises: OSError where the disk is full."""
    fd = os.open(folder / layout.SINGLE_STREAM, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.ftruncate(fd, layout.size_of_whole_lines(fd))
        os.write(fd, line)
    finally:
        os.close(fd)


def read(folder: Path) -> list[SingleStreamRecord]:
    """What was measured, in the order of time; a line that cannot be read is passed over."""
    path = folder / layout.SINGLE_STREAM
    found = []
    if path.exists():
        with files.opened(path) as lines:
            for line in lines:
                try:
                    found.append(files.decode_as(line, SingleStreamRecord))
                except ValueError:
                    continue
    return found


def of_last_place(
    records: Iterable[SingleStreamRecord],
) -> dict[str, dict[str, SingleStreamRecord]]:
    """Task to sample id to the record, of each task only those of the place of its last one.

    Times of different devices do not compare, as after a run was resumed elsewhere.
    """
    found: dict[str, dict[str, SingleStreamRecord]] = defaultdict(dict)
    for record in records:
        mine = found[record.task]
        if mine and next(iter(mine.values())).place != record.place:
            mine.clear()
        mine[record.id] = record
    return found


def summary(
    records: Iterable[SingleStreamRecord], answer_to: Callable[[str, str], str | None]
) -> SingleStream | None:
    """The figures of one task's records of one place; None without any that counts.

    `answer_to` gives the log's answer to a sample (id and digest of the prompt), None if none.
    """
    measured = [record for record in records if record.counts]
    if not measured:
        return None
    logged = [(one.response, answer_to(one.id, one.prompt)) for one in measured]
    pairs = [(alone, batched) for alone, batched in logged if batched is not None]
    return SingleStream(
        n=len(measured),
        ttft_s=_quantiles(one.timings.get("first_token_s") for one in measured),
        preprocess_s=_quantiles(one.timings.get("preprocess_s") for one in measured),
        encode_s=_quantiles(one.timings.get("encode_s") for one in measured),
        prefill_s=_quantiles(one.timings.get("prefill_s") for one in measured),
        per_token_s=_quantiles(per_token_s(one) for one in measured),
        latency_s=_quantiles(one.latency_s for one in measured),
        peak_device_memory_bytes=max(
            (m for one in measured if (m := one.peak_device_memory_bytes) is not None),
            default=None,
        ),
        place=measured[-1].place,
        compared=len(pairs),
        disagreements=sum(alone != batched for alone, batched in pairs),
    )


def per_token_s(record: SingleStreamRecord) -> float | None:
    """Decode time per step after the first token, which the prefill gives.

    A local backend does not count a stop token, which takes a step too; a server counts it.
    """
    generated, decode_s = record.generated_tokens, record.timings.get("decode_s")
    if generated is None or decode_s is None:
        return None
    has_all_steps = record.finish_reason == "length" or record.place.network
    steps = generated - bool(has_all_steps)
    return decode_s / steps if steps > 0 else None


def _quantiles(values: Iterable[float | None]) -> Quantiles | None:
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    p50, p90, p99 = np.percentile(known, (50, 90, 99)).tolist()
    return Quantiles(p50=p50, p90=p90, p99=p99, ci95=median_interval(known))


def median_interval(ordered: Sequence[float]) -> tuple[float, float] | None:
    """95 % confidence interval of the median, between two of the values; None below 6 of them.

    The number of values below the median is binomial, whatever their distribution.
    Source: Conover, 1999, "Practical Nonparametric Statistics", section 3.2.
    """
    n = len(ordered)
    below, cut = 0, 0
    while below + comb(n, cut) <= 0.025 * 2**n:
        below += comb(n, cut)
        cut += 1
    return (ordered[cut - 1], ordered[n - cut]) if cut else None
