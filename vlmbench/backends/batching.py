"""Requests to a local model in batches, with pictures prepared ahead of the device in threads.

A batch holds requests that generate alike and have about the same length. Its answers come
together, so the requests of a batch share the time that the model took. An error is one request's:
a batch that fails is run again in halves, down to the request that fails alone.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from vlmbench.schema import Request, Response, Timings

AHEAD = 2
"""Batches with pictures in memory, beside the one that the model works on."""

WINDOW = 4
"""Batches' worth of requests, still without pictures, from which a batch is chosen."""

MAX_THREADS = 8

NOT_NUMBERS = "the model's logits are not numbers (NaN); float32 or bfloat16 has a wider range"

Prepared = TypeVar("Prepared")
Batch = TypeVar("Batch")


class BatchModel(Protocol[Prepared, Batch]):
    """A model that answers whole batches; it may raise anything at any step."""

    def size(self, request: Request) -> float:
        """About its number of tokens, by the request alone: pictures are not touched."""

    def prepare(self, request: Request) -> Prepared:
        """The request with its pictures decoded. Runs in several threads at once."""

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """What the model takes, still off the device. Runs in one thread, ahead of `answer`."""

    def answer(self, batch: Batch) -> Sequence[Response]:
        """Responses in batch order; `first_token_s` counts from this call.

        Attempts, and the times of queue, preprocessing and total, are filled in by the caller.
        """


@dataclass(slots=True, eq=False)
class _Item(Generic[Prepared]):
    """A request on its way; all times are those of one steady clock."""

    request: Request
    size: float
    read_at: float
    started_at: float = 0.0
    preprocess_s: float = 0.0
    prepared: Prepared | None = None
    attempt: int = 1


@dataclass(slots=True)
class _Formed(Generic[Prepared, Batch]):
    items: list[_Item[Prepared]]
    failed: list[Response]
    batch: Batch | None
    """None: not collated; it is tried again, so that the error finds its request."""


class Batching(Generic[Prepared, Batch]):
    """Runs requests on a model; at most `WINDOW + AHEAD` batches are read ahead."""

    def __init__(self, model: BatchModel[Prepared, Batch], batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        self._too_much = math.inf
        """The least product of requests and longest size that ran out of memory."""

    def answers(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response for every request. Closing the iterator early stops the threads.

        Which requests share a batch depends on the requests alone, not on how fast anything was.
        """
        threads = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
        collator = ThreadPoolExecutor(1)
        window: deque[_Item[Prepared]] = deque()
        waiting = iter(requests)
        formed: deque[Future[_Formed[Prepared, Batch]]] = deque()
        try:
            while True:
                while len(formed) <= AHEAD and (items := self._choose(window, waiting)):
                    futures = [threads.submit(self._prepare, item) for item in items]
                    formed.append(collator.submit(self._form, items, futures))
                if not formed:
                    return
                ready = formed.popleft().result()
                yield from ready.failed
                if ready.items:
                    yield from self._answer(ready.items, ready.batch)
        finally:
            for pool in (threads, collator):
                pool.shutdown(wait=False, cancel_futures=True)
            for pool in (threads, collator):
                pool.shutdown()

    def _choose(
        self, window: deque[_Item[Prepared]], waiting: Iterator[Request]
    ) -> list[_Item[Prepared]]:
        """The request that waits longest, and those of its kind that are nearest in size."""
        while len(window) < WINDOW * self._batch_size:
            request = next(waiting, None)
            if request is None:
                break
            window.append(_Item(request, self._model.size(request), time.perf_counter()))
        if not window:
            return []
        oldest = window[0]
        alike = [item for item in window if _kind(item.request) == _kind(oldest.request)]
        alike.sort(key=lambda item: abs(item.size - oldest.size))
        chosen = alike[: self._batch_size]
        while len(chosen) > 1 and _cost(chosen) >= self._too_much:
            chosen.pop()
        for item in chosen:
            window.remove(item)
        return chosen

    def _prepare(self, item: _Item[Prepared]) -> None:
        item.started_at = time.perf_counter()
        item.prepared = self._model.prepare(item.request)
        item.preprocess_s = time.perf_counter() - item.started_at

    def _form(
        self, items: Sequence[_Item[Prepared]], futures: Sequence[Future[None]]
    ) -> _Formed[Prepared, Batch]:
        formed: _Formed[Prepared, Batch] = _Formed([], [], None)
        for item, future in zip(items, futures, strict=True):
            try:
                future.result()
                formed.items.append(item)
            except CancelledError:
                raise
            except Exception as error:  # the sample boundary
                formed.failed.append(_failed(item, error))
        if formed.items:
            with suppress(Exception):  # one request's: `_answer` finds out whose
                formed.batch = self._collate(formed.items)
        return formed

    def _collate(self, items: Sequence[_Item[Prepared]]) -> Batch:
        start = time.perf_counter()
        prepared = [item.prepared for item in items if item.prepared is not None]
        batch = self._model.collate(prepared)
        for item in items:
            item.preprocess_s += time.perf_counter() - start
        return batch

    def _answer(self, items: Sequence[_Item[Prepared]], batch: Batch | None) -> Iterator[Response]:
        try:
            if batch is None:
                batch = self._collate(items)
            start = time.perf_counter()
            responses = self._model.answer(batch)
            end = time.perf_counter()
        except Exception as caught:  # the sample boundary
            if _is_out_of_memory(caught):
                if len(items) > 1:
                    self._too_much = min(self._too_much, _cost(items))
            elif "CUDA error" in str(caught):
                raise  # the device is lost to this process; the supervisor starts another
            error = caught.with_traceback(None)  # its frames hold the batch's tensors
        else:
            for item, response in zip(items, responses, strict=True):
                yield _timed(item, response, start, end)
            return
        if len(items) == 1:
            yield _failed(items[0], error)
            return
        batch = None
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            for item in half:
                item.attempt += 1
            yield from self._answer(half, None)


def failed(request: Request, error: Exception) -> Response:
    """The record of a request that could not be answered."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Response(id=request.id, text=None, finish_reason="error", error=reason)


def seed_of(seed: int, request_id: str) -> int:
    """A seed for one request's sampling, which no other request of the batch can move."""
    digest = hashlib.blake2b(f"{seed} {request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # torch takes 63 bits on every platform


def about_tokens(request: Request, tokens_a_picture: float) -> float:
    """A request's length by four characters a token."""
    pieces = [piece for message in request.messages for piece in message.content]
    texts = [piece for piece in pieces if isinstance(piece, str)]
    return sum(map(len, texts)) / 4 + (len(pieces) - len(texts)) * tokens_a_picture


def _kind(request: Request) -> tuple[object, ...]:
    """What all requests of a batch have in common."""
    has_pictures = any(not isinstance(p, str) for m in request.messages for p in m.content)
    is_choice = bool(request.candidates)
    return is_choice, has_pictures, request.max_new_tokens, request.stop, request.bad_words


def _cost(items: Sequence[_Item[Prepared]]) -> float:
    return len(items) * max(item.size for item in items)


def _is_out_of_memory(error: Exception) -> bool:
    """True if the text says memory ran out; torch raises several classes, one not specific."""
    marks = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(mark in str(error) for mark in marks)


def _failed(item: _Item[Prepared], error: Exception) -> Response:
    timings = Timings(total_s=time.perf_counter() - item.read_at)
    return replace(failed(item.request, error), attempt=item.attempt, timings=timings)


def _timed(item: _Item[Prepared], response: Response, start: float, end: float) -> Response:
    first_token_s = response.timings.first_token_s
    timings = replace(
        response.timings,
        queue_s=start - item.read_at - item.preprocess_s,
        preprocess_s=item.preprocess_s,
        first_token_s=None if first_token_s is None else start - item.started_at + first_token_s,
        total_s=end - item.read_at,
    )
    return replace(response, attempt=item.attempt, timings=timings)
