"""Answers that were given before: from a prediction file, or from a run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import UNSET

from vlmbench.backends.settings import Settings
from vlmbench.data import predictions
from vlmbench.errors import VlmbenchError
from vlmbench.files import opened
from vlmbench.runs.folder import layout
from vlmbench.runs.folder.responses import TIMINGS, ResponseRecord, records
from vlmbench.schema import Json, Prediction, Probe, Request, Response, Timings
from vlmbench.task.loading import conventions_of


def check(argument: str) -> None:
    """Raises: VlmbenchError if there is nothing to read."""
    _files(Path(argument))


def identity(argument: str, settings: Settings) -> Mapping[str, Json]:
    """A run is not resumed from other answers than those it began with."""
    return {"weights": _digest(_files(Path(argument)))}


def open(argument: str, settings: Settings) -> ReplayBackend:
    return ReplayBackend(Path(argument))


class ReplayBackend:
    """Gives each request the response that its sample has in the file or folder.

    A folder answers for every split that was run; a file for the first split that is asked for.
    Of a file only the responses are replayed: an extraction beside them counts where the file
    itself is scored. All answers are held in memory.
    """

    def __init__(self, path: Path) -> None:
        """Raises: VlmbenchError if there is nothing to read."""
        self._path, self._files = path, _files(path)
        self._answers: dict[str, Response] | None = None
        self._splits: set[str] = set()

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Raises: VlmbenchError for a file that cannot be read, or does not know a split at all."""
        for request in requests:
            split, _, sample_id = request.id.partition("/")
            missing = f"LookupError: {self._path} has no answer to {sample_id!r}"
            yield self._answers_to(split).get(request.id) or _failed(request.id, missing)

    def _answers_to(self, split: str) -> Mapping[str, Response]:
        if self._answers is None:
            read = _of_run(self._path) if self._path.is_dir() else _of_file(self._path, split)
            self._answers = read
            self._splits = {id.partition("/")[0] for id in read}
        if split not in self._splits:
            known = ", ".join(sorted(self._splits)) or "none"
            raise VlmbenchError(f"{self._path} has no answers to {split}; it has: {known}")
        return self._answers

    def probe(self) -> Probe:
        return Probe(model=f"replay:{self._path}", weights_digest=_digest(self._files))

    def close(self) -> None:
        self._answers = None


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise VlmbenchError(f"no prediction file or run folder {path}")
    files = layout.responses_files(path) if path.is_dir() else [path]
    if not files:
        raise VlmbenchError(f"{path} is no run's folder: it has no responses-*.jsonl")
    return files


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with opened(path) as file:
            hashlib.file_digest(file, lambda: digest)  # goes on where the last file ended
    return f"sha256:{digest.hexdigest()}"


def _of_file(path: Path, split: str) -> dict[str, Response]:
    """Request ids to responses.

    Raises: VlmbenchError for a file that is malformed, numbers rows, or answers a sample twice.
    """
    file = predictions.read(path, conventions_of(split.partition("@")[0]))
    if file.by_row_number or file.ids_name_pictures:
        given = "row numbers" if file.by_row_number else "the pictures' ids"
        raise VlmbenchError(
            f"{path} gives {given} and not the samples' ids; score it with vlmbench score"
        )
    answers: dict[str, Response] = {}
    for line in file.lines:
        key = f"{split}/{line.key}"
        if key in answers:
            raise VlmbenchError(f"{line.where}: a second answer to {line.prediction.id!r}")
        answers[key] = _of_prediction(key, line.prediction)
    return answers


def _of_prediction(key: str, prediction: Prediction) -> Response:
    if prediction.response is not None:
        return Response(id=key, text=prediction.response, finish_reason="stop")
    without = "an extraction without its response" if prediction.is_final else "no response"
    return _failed(key, prediction.error or f"LookupError: the file has {without}")


def _of_run(folder: Path) -> dict[str, Response]:
    """Request ids to responses; of several lines the last that has one counts."""
    answers: dict[str, Response] = {}
    for record in records(folder):
        response = _of_record(record)
        if response.text is not None or response.id not in answers:
            answers[response.id] = response
    return answers


def _of_record(record: ResponseRecord) -> Response:
    """A response as it was logged: its times are those of the earlier run."""
    id = f"{record.task}/{record.id}"
    if record.response is None:
        return _failed(id, record.error or "LookupError: the run has no response")
    return Response(
        id=id,
        text=record.response,
        finish_reason="length" if record.finish_reason == "length" else "stop",
        visual_tokens=_count(record.visual_tokens),
        prompt_tokens=_count(record.prompt_tokens),
        generated_tokens=_count(record.generated_tokens),
        timings=Timings(**{name: record.timings.get(name) for name in TIMINGS}),
        reasoning="" if record.reasoning is UNSET else record.reasoning,
        reasoning_tokens=None if record.reasoning_tokens is UNSET else record.reasoning_tokens,
        token_limit=None if record.token_limit is UNSET else record.token_limit,
    )


def _count(number: float | None) -> int | None:
    return None if number is None else int(number)


def _failed(id: str, error: str) -> Response:
    return Response(id=id, text=None, finish_reason="error", error=error)
