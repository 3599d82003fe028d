"""A model as a judge: predictions with the answers that it read out of them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from vlmbench.backends import registry
from vlmbench.backends.protocol import Backend
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.judge_log import JudgeLog
from vlmbench.schema import Json, Prediction, Request, Response, Sample
from vlmbench.task.binding import digest_of, prompt_digest
from vlmbench.task.judging import DEFAULT, Agreement, Judging
from vlmbench.task.reading import Reading
from vlmbench.task.task import Task

Pair = tuple[Sample, Prediction]


def model_of(spec: str) -> str:
    """The model that `--judge` names; URL#MODEL alone is one of the backend `openai`."""
    return f"openai:{spec}" if spec.startswith(("http://", "https://")) else spec


class Judge:
    """A model that reads a task's answers out of responses; its log is asked before it is.

    The model is opened at the first question to which the log has no reply.
    """

    def __init__(
        self,
        task: Task,
        model: str,
        settings: Mapping[str, Json],
        log: Path | None,
        *,
        reading: Reading = DEFAULT,
        num_checks: int = 0,
    ) -> None:
        """`log`: None keeps no replies. `reading`, `num_checks`: see `task.judging.Judging`.

        Raises: VlmbenchError where the task has no judge, for what is wrong with the model's name
        or its settings, and for a log that cannot be written.
        """
        self._judging = Judging(task, reading, num_checks)
        self._checks: set[str] = set()
        self._model, self._settings = model, settings
        identity = registry.identity(model, settings)
        self._identity = [identity, registry.generation(model, settings)]
        self._log = JudgeLog(log) if log else None
        self._backend: Backend | None = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        if self._backend is not None:
            self._backend.close()
        if self._log is not None:
            self._log.close()

    @property
    def agreement(self) -> Agreement:
        """How the judge and the rules agree, so far."""
        return self._judging.agreement

    def judged(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """The pairs in their order, with the judge's answers as extractions.

        A pair waits for those before it. Where the judge fails, the sample has failed.

        Raises: VlmbenchError where an id is predicted twice, and where the judge cannot be opened
        or is gone for good; what it replied until then is in the log.
        """
        left = iter(pairs)
        for sample, prediction in left:
            found = self._settled(sample, prediction)
            if isinstance(found, Request):
                yield from self._asked(chain([(sample, prediction)], left))
                return
            yield sample, found

    def _settled(self, sample: Sample, prediction: Prediction) -> Prediction | Request:
        """The prediction as it is scored, or what is left to ask of the judge."""
        found = self._judging.settled(sample, prediction)
        is_check = found is not None and self._judging.is_check(sample, found)
        if found is not None and not is_check:
            return found
        request = self._judging.request(sample, prediction)
        if is_check:
            self._checks.add(request.id)
        reply = self._log.get(self._key(request)) if self._log else None
        return self._replied(request.id, sample, prediction, reply) if reply else request

    def _replied(
        self, id: str, sample: Sample, prediction: Prediction, reply: Response
    ) -> Prediction:
        """The prediction as it is scored: by the judge's reply, but where that is only a check."""
        judged = self._judging.with_reply(prediction, reply)
        self._judging.compare(sample, prediction, judged)
        return prediction if id in self._checks else judged

    def _asked(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        waiting: deque[_Waiting] = deque()
        asked: dict[str, _Waiting] = {}
        mistakes: list[VlmbenchError] = []

        def requests() -> Iterator[Request]:
            try:
                for sample, prediction in pairs:
                    found = self._settled(sample, prediction)
                    if not isinstance(found, Request):
                        waiting.append(_Waiting(sample, prediction, settled=found))
                        continue
                    if found.id in asked:
                        raise VlmbenchError(f"{found.id} is predicted more than once; keep one")
                    asked[found.id] = _Waiting(sample, prediction, key=self._key(found))
                    waiting.append(asked[found.id])
                    yield found
            except VlmbenchError as error:
                mistakes.append(error)  # raised when what is in flight is answered and logged

        for reply in self._opened().generate(requests()):
            pair = asked.pop(reply.id)
            if self._log is not None:
                self._log.append(pair.key, self._model, reply)
            pair.settled = self._replied(reply.id, pair.sample, pair.prediction, reply)
            while waiting and (first := waiting[0]).settled is not None:
                waiting.popleft()
                yield first.sample, first.settled
        if mistakes:
            raise mistakes[0]
        for pair in waiting:
            yield pair.sample, pair.settled or self._judging.with_reply(pair.prediction, NO_REPLY)

    def _opened(self) -> Backend:
        if self._backend is None:
            self._backend = registry.open_backend(self._model, **self._settings)
        return self._backend

    def _key(self, request: Request) -> str:
        """Equal for the same question to the same model with the same settings."""
        return digest_of(json.dumps([*self._identity, prompt_digest(request, ())]).encode())


NO_REPLY = Response(
    id="", text=None, finish_reason="error", error="RuntimeError: the backend gave no response"
)


@dataclass(slots=True)
class _Waiting:
    """A pair that waits for its reply, or for a pair before it."""

    sample: Sample
    prediction: Prediction
    settled: Prediction | None = None
    key: str = ""
