"""inspect_ai's logs, .eval (a zip archive of JSON) and .json; checked for 0.3.285."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlmbench.data.predictions import chats, gold, own_lines
from vlmbench.data.predictions.conventions import Conventions
from vlmbench.data.predictions.harness_runs import HarnessRun, HarnessTask, Known, Skipped, number
from vlmbench.data.predictions.line import Line, Predictions, identity
from vlmbench.data.predictions.own_lines import Record
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

HEADER, SAMPLES = "header.json", "samples/"
ATTACHMENT = "attachment://"
"""How a text begins that stands in the sample's `attachments`, by the hash that follows."""

ZSTD = 93
"""Method of compression of its archives, which Python's zipfile reads from 3.14 on."""

MAX_MEMBER = 1 << 30
"""Bytes of a sample that are still read; with pictures inside one has some megabytes."""

CREDITS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Its letters: correct, incorrect, partly correct, no answer."""


def is_archive(path: Path) -> bool:
    """True for a zip archive that is a log."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return HEADER in names or "_journal/start.json" in names


def is_document(record: Mapping[str, Json]) -> bool:
    """True for the content of a .json log."""
    return isinstance(record.get("eval"), Mapping) and "status" in record


def of_archive(path: Path, conventions: Conventions) -> Predictions:
    header = _header(path)
    return _predictions(header, _samples(path), conventions)


def of_document(path: Path, document: Record, conventions: Conventions) -> Predictions:
    return _predictions(document, _listed(path, document), conventions)


def runs(files: Sequence[Path], known: Mapping[str, Known]) -> Iterator[HarnessRun | Skipped]:
    """A run for each log among the files; `known` are the tasks that we have."""
    for path in files:
        try:
            header, samples = _opened(path)
        except VlmbenchError as error:
            yield Skipped(str(path), str(error))
            continue
        if header is None:
            continue
        about = _mapping(header, "eval")
        name = str(about.get("task", "")).rpartition("/")[2]
        if name not in known:
            yield Skipped(f"{name} of {path}", "there is no such task here")
            continue
        try:
            task = _task(name, path, header, samples, known[name])
        except VlmbenchError as error:
            yield Skipped(f"{name} of {path}", str(error))
            continue
        yield HarnessRun(
            harness="inspect_ai",
            version=str(_mapping(about, "packages").get("inspect_ai", "")),
            model=str(about.get("model", "")),
            date=str(about.get("created", "")),
            folder=path.parent,
            tasks=(task,),
            settings={"solver": about.get("solver"), "config": about.get("config")},
        )


def _task(
    name: str,
    path: Path,
    header: Mapping[str, Any],
    samples: Iterator[tuple[str, Record]],
    known: Known,
) -> HarnessTask:
    values = {}
    scorer = ""
    for where, sample in _first_epoch(samples):
        scores = _mapping(sample, "scores")
        scorer = scorer or next(iter(scores), "")
        credit = _credit(_mapping(scores, scorer).get("value"))
        if credit is not None:
            values[_line(sample, where, known.conventions).key] = credit
    metric, reported = _reported(header, scorer)
    return HarnessTask(
        name=name,
        spec=f"{known.task}@{known.splits[0]}",
        predictions=path,
        reported=None if reported is None else known.names.percent * reported,
        metric=metric,
        values=values,
        settings={"scorer": scorer, "generation": _mapping(header, "plan").get("config")},
    )


def _credit(value: Any) -> float | None:
    return CREDITS.get(value, number(value)) if isinstance(value, str) else number(value)


def _reported(header: Mapping[str, Any], scorer: str) -> tuple[str, float | None]:
    """Its first metric of the scorer, such as accuracy."""
    scores = _mapping(header, "results").get("scores")
    for score in scores if isinstance(scores, list) else []:
        if isinstance(score, Mapping) and score.get("name") == scorer:
            for name, metric in _mapping(score, "metrics").items():
                return name, number(_mapping({"": metric}, "").get("value"))
    return "", None


def _predictions(
    header: Mapping[str, Any], samples: Iterator[tuple[str, Record]], conventions: Conventions
) -> Predictions:
    epochs = _mapping(_mapping(header, "eval"), "config").get("epochs")
    which = f", the first of {epochs} epochs" if isinstance(epochs, int) and epochs > 1 else ""
    return Predictions(
        format=f"inspect_ai log{which}",
        lines=(_line(sample, where, conventions) for where, sample in _first_epoch(samples)),
        has_gold_only=True,
    )


def _first_epoch(samples: Iterator[tuple[str, Record]]) -> Iterator[tuple[str, Record]]:
    return (one for one in samples if one[1].get("epoch", 1) == 1)


def _line(sample: Record, where: str, conventions: Conventions) -> Line:
    key = identity(sample, "id", where)
    sample = _resolved(sample)
    response = chats.answer_of(sample.get("output"), where)
    error = _mapping(sample, "error").get("message", "")
    question = chats.question_of(sample.get("input"))
    choices = sample.get("choices")
    about = {"choices": choices} if choices else {}
    kind = "multiple-choice" if choices else "open"
    record = {"question_type": kind, **about, **_mapping(sample, "metadata")}
    return Line(
        prediction=Prediction(id=key, response=response, error=str(error).partition("\n")[0]),
        row=gold.row(sample.get("target"), record, key, question, conventions),
        where=where,
        prompt=question,
    )


def _resolved(sample: Record) -> Record:
    """The sample with the texts that it keeps apart put back where they belong."""
    attachments = _mapping(sample, "attachments")

    def resolved(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(ATTACHMENT):
            return attachments.get(value.removeprefix(ATTACHMENT), value)
        if isinstance(value, list):
            return [resolved(item) for item in value]
        if isinstance(value, dict):
            return {key: resolved(item) for key, item in value.items()}
        return value

    wanted = ("input", "choices", "target", "output", "metadata", "error")
    return {key: resolved(sample.get(key)) for key in wanted}


def _opened(
    path: Path,
) -> tuple[Mapping[str, Any] | None, Iterator[tuple[str, Record]]]:
    """A log's header and its samples; no header: the file is no log."""
    if path.suffix == ".eval":
        return (_header(path), _samples(path)) if is_archive(path) else (None, iter(()))
    if path.suffix == ".json":
        with path.open("rb") as file:
            head = file.read(400)
        if b'"eval"' in head and b'"status"' in head:
            document = own_lines.record(path.read_text("utf-8"), str(path))
            return document, _listed(path, document)
    return None, iter(())


def _header(path: Path) -> Record:
    with zipfile.ZipFile(path) as archive:
        if HEADER not in archive.namelist():
            raise VlmbenchError(
                f"{path}: a log whose run has not ended (no {HEADER}); "
                "`inspect log recover` makes it whole"
            )
        return own_lines.record(_member(archive, HEADER, path), f"{path}: {HEADER}")


def _samples(path: Path) -> Iterator[tuple[str, Record]]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith(SAMPLES)]
        if not names:
            raise VlmbenchError(f"{path}: a log without samples (log_samples)")
        for name in names:
            where = f"{path}: {name}"
            yield where, own_lines.record(_member(archive, name, path), where)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """A member's text. Raises: VlmbenchError for one that is damaged or far too large."""
    info = archive.getinfo(name)
    if info.file_size > MAX_MEMBER:
        raise VlmbenchError(f"{path}: {name} has {info.file_size:,} bytes, more than is read")
    try:
        if info.compress_type != ZSTD:
            return archive.read(info).decode()
        return _zstd(path, info).decode()
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise VlmbenchError(f"{path}: {name} cannot be read: {error}") from None


def _zstd(path: Path, info: zipfile.ZipInfo) -> bytes:
    import pyarrow as pa

    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
        file.seek(sum(struct.unpack("<HH", header[26:30])), 1)  # name and extra field
        packed = file.read(info.compress_size)
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        content: bytes = stream.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise ValueError("its size is not the one that the archive states")
    return content


def _listed(path: Path, document: Record) -> Iterator[tuple[str, Record]]:
    samples = document.get("samples")
    if not isinstance(samples, list) or not samples:
        raise VlmbenchError(f"{path}: a log without samples (log_samples)")
    for count, sample in enumerate(samples, 1):
        if not isinstance(sample, dict):
            raise VlmbenchError(f"{path}: sample {count} is no object")
        yield f"{path}: sample {count}", sample


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}
