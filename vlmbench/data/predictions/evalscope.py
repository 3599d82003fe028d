"""EvalScope's files: predictions/MODEL/BENCHMARK_SUBSET.jsonl, and reviews with the scores.

Checked for 1.14.1; both name the sample in its metadata where the benchmark has ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vlmbench.data.predictions import chats, gold, own_lines
from vlmbench.data.predictions.conventions import Conventions
from vlmbench.data.predictions.harness_runs import HarnessRun, HarnessTask, Known, Skipped, number
from vlmbench.data.predictions.line import Line, Predictions, identity, missing
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

REVIEWS, PREDICTIONS, REPORTS = "reviews", "predictions", "reports"


def is_line(record: Mapping[str, Json]) -> bool:
    """True for a line of a prediction or a review file."""
    return "index" in record and ("model_output" in record or "sample_score" in record)


def lines(
    first: Mapping[str, Json],
    records: Iterable[tuple[str, Mapping[str, Json]]],
    conventions: Conventions,
) -> Predictions:
    """A file of either kind, whose first line is `first`: it tells whether lines have an id."""
    id = _id_key(_metadata(first), conventions)
    return Predictions(
        format="EvalScope reviews" if "sample_score" in first else "EvalScope predictions",
        lines=(_line(record, where, conventions, id) for where, record in records),
        by_row_number=id is None,
        has_gold_only=True,
    )


def runs(files: Sequence[Path], known: Mapping[str, Known]) -> Iterator[HarnessRun | Skipped]:
    """The runs among the files of a result folder; `known` are the tasks that we have."""
    folders = {path.parent for path in files if path.suffix == ".jsonl"}
    for folder in sorted(folders):
        kind, top = folder.parent.name, folder.parent.parent
        has_scores = (top / REVIEWS / folder.name).is_dir()
        if kind not in (REVIEWS, PREDICTIONS) or (kind == PREDICTIONS and has_scores):
            continue
        tasks = []
        for pattern, one in known.items():
            if any(fnmatchcase(path.stem, pattern) for path in folder.glob("*.jsonl")):
                try:
                    tasks.append(_task(pattern, folder, one))
                except VlmbenchError as error:
                    yield Skipped(f"{pattern} of {folder}", str(error))
        if tasks:
            yield HarnessRun(
                harness="EvalScope",
                version="",
                model=folder.name,
                date=top.name if top.name[:8].isdecimal() else "",
                folder=top,
                tasks=tuple(tasks),
            )


def _task(pattern: str, folder: Path, known: Known) -> HarnessTask:
    predictions = folder / f"{pattern}.jsonl"
    values: dict[str, float] = {}
    metric = ""
    for path in sorted(folder.glob(predictions.name)):
        for where, record in own_lines.records(path):
            score = _mapping(_mapping(record, "sample_score"), "score")
            found = _mapping(score, "value")
            metric = metric or str(score.get("main_score_name") or next(iter(found), ""))
            credit = number(found.get(metric))
            if credit is not None:
                id = _id_key(_metadata(record), known.conventions)
                values[_line(record, where, known.conventions, id).key] = credit
    reported = sum(values.values()) / len(values) if values else None
    return HarnessTask(
        name=pattern.partition("_[")[0].removesuffix("_*"),
        spec=f"{known.task}@{known.splits[0]}",
        predictions=predictions,
        reported=None if reported is None else known.names.percent * reported,
        metric=f"mean {metric}",
        values=values,
    )


def _metadata(record: Mapping[str, Json]) -> Mapping[str, Json]:
    """A prediction's, or that of a review's sample."""
    found = _mapping(record, "metadata")
    return found or _mapping(_mapping(record, "sample_score"), "sample_metadata")


def _id_key(metadata: Mapping[str, Json], conventions: Conventions) -> str | None:
    return next((key for key in (*conventions.ids, "id") if metadata.get(key) is not None), None)


def _line(
    record: Mapping[str, Json], where: str, conventions: Conventions, id_key: str | None
) -> Line:
    metadata = _metadata(record)
    key = identity(metadata, id_key, where) if id_key else identity(record, "index", where)
    question = chats.question_of(record.get("messages") or record.get("input") or "")
    answers = metadata.get("answers") or record.get("target")
    kind = "multiple-choice" if gold.options_of(metadata, question) else "open"
    return Line(
        prediction=Prediction(id=key, response=_response(record, where)),
        row=gold.row(answers, {"question_type": kind, **metadata}, key, question, conventions),
        where=where,
        prompt=question,
    )


def _response(record: Mapping[str, Json], where: str) -> str | None:
    if "model_output" in record:
        return chats.answer_of(record["model_output"], where)
    score = _mapping(_mapping(record, "sample_score"), "score")
    if "prediction" not in score:
        raise missing("prediction", score, where)
    return chats.text_of(score["prediction"])


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}
