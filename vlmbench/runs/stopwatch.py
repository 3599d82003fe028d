"""Latency, measured: which samples are asked alone, and the clock around each of them.

By default 16 to 64 samples of a task, as many as take about a minute, but of a small run no more
than a quarter, so that it does not take twice as long for it (8 are always worth it). They are
drawn by their names: another limit or order of the samples does not change which come first.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from vlmbench.backends.protocol import Backend
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.costs import Place
from vlmbench.runs.folder.single_stream import SingleStreamRecord, encoded
from vlmbench.runs.plan import Item, Timed
from vlmbench.runs.runner import Asked, ask
from vlmbench.schema import Probe, Request, Response
from vlmbench.task.binding import BoundTask

NUM_WARMUPS = 2
"""Requests of each task that are asked before the clock runs."""

MAX_FAILED = 3
"""Failures in a row that end a task's pass: the run itself decides what to do about them."""

LEAST, MOST = 16, 64
SECONDS = 60.0
"""From `LEAST` on, a task's pass ends after so long."""

SMALL = 8
SHARE = 4
"""One sample in so many is measured, but at least `SMALL`."""


def timed(
    items: Sequence[Item],
    measured: Mapping[str, Mapping[str, SingleStreamRecord]],
    answered: Mapping[str, Collection[str]],
    *,
    number: int | None,
    is_first: bool,
) -> list[Timed]:
    """What is left to be measured, task by task.

    Args:
        items: The run's.
        measured: Task to sample id to its record, those of one place.
        answered: Task to ids of samples that the log has an answer to; no others are asked.
        number: Samples of each task; None: the default.
        is_first: What is asked first takes longer than what comes again: samples that the log has
            no answer to are asked, and warm-ups are not measured. Others are only where these are
            none, or fewer than asked for.
    """
    found = []
    for task, num_selected in Counter(item.task for item in items).items():
        has = answered.get(task, ())
        mine = {id: r for id, r in measured.get(task, {}).items() if r.response is not None}
        every = [item for item in items if item.task == task]
        pool = [item for item in every if item.id in mine or (item.id in has) != is_first]
        is_again = is_first and len(pool) < min(number or 1, len(every))
        ordered = _ordered(every if is_again else pool)
        most = number
        if most is None:
            spare = NUM_WARMUPS if is_first else 0
            most = min(MOST, max(SMALL, -(-num_selected // SHARE)), max(1, len(ordered) - spare))
        chosen = tuple(ordered[:most])
        one = Timed(
            task=task,
            warmups=tuple((ordered[most:] or ordered)[-NUM_WARMUPS:]),
            items=chosen,
            least=len(chosen) if number is not None else min(LEAST, len(chosen)),
            seconds=None if number is not None else SECONDS,
            done={id: record.latency_s for id, record in mine.items()},
            done_at=next((record.place for record in mine.values()), None),
            is_again=is_again,
        )
        if next(_left(one, one.done), None) is not None:
            found.append(one)
    return found


def _ordered(items: Iterable[Item]) -> list[Item]:
    """By a digest of their names, samples that share pictures far apart."""
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, int, Item]] = []
    for item in sorted(items, key=_digest):
        ranked.append((seen[item.image_group], len(ranked), item))
        seen[item.image_group] += 1
    return [item for _, _, item in sorted(ranked, key=lambda one: one[:2])]


def _digest(item: Item) -> bytes:
    return hashlib.blake2b(f"{item.task}/{item.id}".encode(), digest_size=8).digest()


def _left(timed: Timed, done: Mapping[str, float]) -> Iterator[Item]:
    """The items that are still to be measured; `done` may grow meanwhile."""
    for item in timed.items:
        is_enough = len(done) >= timed.least and timed.seconds is not None
        if is_enough and sum(done.values()) >= (timed.seconds or 0.0):
            return
        if item.id not in done:
            yield item


def unmeasured(task: str, why: str) -> str:
    """What the user is told where a pass ended before its time."""
    return f"latency of {task} was not measured whole: {why}; the answers are not touched by it"


class Stopwatch:
    """Asks a backend one request at a time; each measured one is written at once."""

    def __init__(
        self,
        backend: Backend,
        sources: Sequence[BoundTask],
        worker: str,
        write: Callable[[bytes], None],
    ) -> None:
        """`write` takes an encoded `SingleStreamRecord`."""
        self._backend, self._sources = backend, sources
        self._worker, self._write = worker, write

    def run(self, timed: Timed) -> str:
        """Measure what is left; why it ended before its time, empty: it did not."""
        place = place_of(self._backend.probe(), timed.num_idle_workers)
        done = dict(timed.done) if place == timed.done_at else {}
        asked: dict[str, Asked] = {}
        num_warmups = num_failed = 0

        def requests() -> Iterator[Request]:
            """Warm-ups first; each is read from the data only when it is its turn."""
            nonlocal num_warmups
            for item in timed.warmups:
                one = next(ask(self._sources, [item]))
                if one.request is not None:
                    num_warmups += 1
                    yield one.request
            for item in _left(timed, done):
                one = next(ask(self._sources, [item]))
                if one.request is not None:
                    asked[one.request.id] = one
                    yield one.request
                else:
                    done[item.id] = 0.0
                    self._write(self._line(one, _failed(item.id, one.error), 0.0, place, timed))

        try:
            for response, latency_s in self._answers(requests()):
                num_failed = 0 if response.text is not None else num_failed + 1
                if num_failed == MAX_FAILED:
                    return f"{MAX_FAILED} requests in a row failed, the last by {response.error}"
                if num_warmups:
                    num_warmups -= 1
                    continue
                one = asked.pop(response.id)
                done[one.item.id] = latency_s
                self._write(self._line(one, response, latency_s, place, timed))
        except VlmbenchError as error:
            return str(error)
        except Exception as error:  # the boundary: the answers of the run must not be lost with it
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
        return ""

    def _answers(self, requests: Iterable[Request]) -> Iterator[tuple[Response, float]]:
        """Responses in turn, each with its latency; no request is read before its turn."""
        one_by_one = getattr(self._backend, "one_by_one", None)
        if one_by_one is not None:
            for response in one_by_one(requests):
                yield response, response.timings.total_s or 0.0
            return
        for request in requests:
            start = time.perf_counter()
            responses = self._backend.generate([request])
            response = next(responses, None)
            latency_s = time.perf_counter() - start
            for _ in responses:  # a backend may clean up behind its last response
                pass
            yield response or _failed(request.id, "RuntimeError: no response"), latency_s

    def _line(
        self, asked: Asked, response: Response, latency_s: float, place: Place, timed: Timed
    ) -> bytes:
        peak = self._backend.probe().peak_device_memory_bytes if timed.is_fresh else None
        return encoded(
            asked.item.task,
            asked.item.id,
            response,
            latency_s=latency_s,
            place=place,
            peak_device_memory_bytes=peak,
            prompt=asked.prompt,
            worker=self._worker,
            time=round(time.time(), 3),
        )


def _failed(id: str, error: str) -> Response:
    return Response(id=id, text=None, finish_reason="error", error=error)


def place_of(probe: Probe, num_idle_workers: int) -> Place:
    """Where a backend's requests are answered, as this process can tell."""
    kind = probe.device.partition(":")[0]
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdigit() else len(os.sched_getaffinity(0))
    return Place(
        device=probe.device_name or kind,
        dtype=probe.dtype,
        num_threads=threads if kind == "cpu" else None,
        num_idle_workers=num_idle_workers,
        network=probe.network,
    )
