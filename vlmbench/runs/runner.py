"""One worker's loop: samples become requests, responses become lines of the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

from vlmbench.backends.protocol import Backend
from vlmbench.data.rows import BLOCK, Row
from vlmbench.runs.failures import StopRule
from vlmbench.runs.folder.responses import encoded
from vlmbench.runs.plan import Item
from vlmbench.schema import Request, Response
from vlmbench.task.binding import BoundTask, pictures_of, prompt_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A sample, and what a model is asked about it."""

    item: Item
    request: Request | None = None
    """None: the sample cannot be asked."""

    error: str = ""
    """Why it cannot."""

    prompt: str = ""
    """Digest of the request."""

    images: tuple[str, ...] = ()
    """Digests of its pictures."""


def ask(sources: Sequence[BoundTask], items: Sequence[Item]) -> Iterator[Asked]:
    """The items in their order, each read from the data only when it is asked for."""
    by_name = {source.name: source for source in sources}
    for start in range(0, len(items), BLOCK):
        block = items[start : start + BLOCK]
        rows = {
            name: source.rows.take([item.index for item in block if item.task == name])
            for name, source in by_name.items()
        }
        for item in block:
            yield _asked(by_name[item.task], item, next(rows[item.task]))


def _asked(source: BoundTask, item: Item, row: Row) -> Asked:
    images: tuple[str, ...] = ()
    try:
        request = source.request(source.task.read(row))
        images = tuple(picture.digest for picture in pictures_of(request))
    except Exception as error:  # the sample boundary
        return Asked(item=item, error=f"{type(error).__name__}: {error}", images=images)
    return Asked(item=item, request=request, prompt=prompt_digest(request, images), images=images)


class Runner:
    """Puts questions to a backend; each response is written as soon as it is there."""

    def __init__(self, backend: Backend, worker: str, write: Callable[[bytes], None]) -> None:
        """`write` takes an encoded `ResponseRecord`; it may raise OSError where a disk is full."""
        self._backend, self._worker, self._write = backend, worker, write
        self._waiting: dict[str, Asked] = {}
        self._rule: StopRule | None = None
        self._problem = ""
        self._lock = Lock()  # a backend may take requests, and so fail some, in its own thread

    def run(self, asked: Iterable[Asked], rule: StopRule | None = None) -> str:
        """Why the rule has stopped it; empty: every sample has its line."""
        self._rule = rule
        for response in self._backend.generate(self._requests(asked)):
            self._answer(self._waiting.pop(response.id), response)
            if self._problem:
                return self._problem
        for one in self._waiting.values():
            self._fail(one, "RuntimeError: the backend gave no response")
        self._waiting.clear()
        return self._problem

    def _requests(self, asked: Iterable[Asked]) -> Iterator[Request]:
        for one in asked:
            if self._problem:
                return
            if one.request is None:
                self._fail(one, one.error)
            else:
                self._waiting[one.request.id] = one
                yield one.request

    def _fail(self, asked: Asked, error: str) -> None:
        failed = Response(id=asked.item.id, text=None, finish_reason="error", error=error)
        self._answer(asked, failed)

    def _answer(self, asked: Asked, response: Response) -> None:
        line = encoded(
            asked.item.task,
            asked.item.id,
            response,
            prompt=asked.prompt,
            images=asked.images,
            worker=self._worker,
            time=round(time.time(), 3),
        )
        with self._lock:
            self._write(line)
            if self._rule is not None and not self._problem:
                self._problem = self._rule.problem(response.text, response.error)
