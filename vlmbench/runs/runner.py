"""One worker's loop: samples become requests, responses become lines of the log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock

from vlmbench.backends.protocol import Backend
from vlmbench.data.rows import BLOCK, Row
from vlmbench.errors import VlmbenchError
from vlmbench.runs import failures
from vlmbench.runs.folder.responses import Log
from vlmbench.runs.folder.usage import Recorder
from vlmbench.runs.plan import Item
from vlmbench.schema import Json, Request, Response, Timings
from vlmbench.task.binding import Source, _digest, pictures_of, prompt_digest

TIMINGS = tuple(field.name for field in fields(Timings))


def _indices(items: Sequence[Item], task: str) -> list[int]:
    return [item.index for item in items if item.task == task]


@dataclass(frozen=True, slots=True)
class _Asked:
    item: Item
    prompt_digest: str
    image_digests: tuple[str, ...]


class Runner:
    """Runs items on one backend; whatever ends it, every response that it had is in the log."""

    def __init__(
        self, sources: Sequence[Source], backend: Backend, folder: Path, worker: str
    ) -> None:
        self._sources = {source.name: source for source in sources}
        self._backend, self._folder, self._worker = backend, folder, worker
        self._log = Log(folder, worker)
        self._asked: dict[str, _Asked] = {}
        self._num_failed = 0
        self._lock = Lock()  # a backend may take requests, and so fail some, in its own thread

    def run(
        self,
        items: Sequence[Item],
        max_failures: int | None = None,
        *,
        is_patient: bool = False,
    ) -> bool:
        """True: every item has its line; False: stopped, as more than `max_failures` failed.

        `is_patient`: go on though the first samples all fail alike.

        Raises: VlmbenchError where they do, and it is not; OSError where the log cannot be written
        (a full disk).
        """
        try:
            with Recorder(self._folder, self._worker, self._backend):
                responses = self._backend.generate(self._requests(items))
                if not is_patient and max_failures is None:
                    responses = failures.stopping(responses, self._folder)
                for response in responses:
                    self._write(self._asked.pop(response.id), response)
                    if max_failures is not None and self._num_failed > max_failures:
                        return False
                for asked in self._asked.values():
                    self._fail(asked, "RuntimeError: the backend gave no response")
                return True
        finally:
            self._log.close()

    def _requests(self, items: Sequence[Item]) -> Iterator[Request]:
        for start in range(0, len(items), BLOCK):
            block = items[start : start + BLOCK]
            rows = {
                name: source.rows.take(_indices(block, name))
                for name, source in self._sources.items()
            }
            for item in block:
                request = self._ask(self._sources[item.task], item, next(rows[item.task]))
                if request is not None:
                    yield request

    def _ask(self, source: Source, item: Item, row: Row) -> Request | None:
        digests: tuple[str, ...] = ()
        try:
            request = source.request(source.task.read(row))
            digests = tuple(_digest(p.encoded()) for p in pictures_of(request))
        except (VlmbenchError, ValueError, OSError) as error:  # the sample boundary
            self._fail(_Asked(item, "", digests), f"{type(error).__name__}: {error}")
            return None
        self._asked[request.id] = _Asked(item, prompt_digest(request, digests), digests)
        return request

    def _fail(self, asked: _Asked, error: str) -> None:
        response = Response(id=asked.item.id, text=None, finish_reason="error", error=error)
        self._write(asked, response)

    def _write(self, asked: _Asked, response: Response) -> None:
        record = self._record(asked, response)
        with self._lock:
            self._num_failed += response.text is None
            self._log.append(record)

    def _record(self, asked: _Asked, response: Response) -> dict[str, Json]:
        return {
            "task": asked.item.task,
            "id": asked.item.id,
            "response": response.text,
            "finish_reason": response.finish_reason,
            "error": response.error,
            "attempt": response.attempt,
            "visual_tokens": response.visual_tokens,
            "prompt_tokens": response.prompt_tokens,
            "generated_tokens": response.generated_tokens,
            "flops": response.flops,
            "timings": {
                name: value
                for name in TIMINGS
                if (value := getattr(response.timings, name)) is not None
            },
            "images": list(asked.image_digests),
            "prompt": asked.prompt_digest,
            "worker": self._worker,
            "time": round(time.time(), 3),
        }
