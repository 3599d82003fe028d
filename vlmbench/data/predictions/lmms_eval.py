"""lmms-eval's files: DATE_results.json and DATE_samples_TASK.jsonl; checked for 0.2.4 to 0.7.3.

Samples are logged with `--log_samples`; a folder without them has aggregate scores only.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

from vlmbench import files
from vlmbench.data.predictions import own_lines
from vlmbench.data.predictions.conventions import METADATA, Conventions
from vlmbench.data.predictions.harness_runs import HarnessRun, HarnessTask, Known, Skipped, number
from vlmbench.data.predictions.line import Line, Predictions, identity, missing, wrong
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

SAMPLES = re.compile(r"(?:(?P<date>.+)_)?samples_(?P<task>.+)\.jsonl")
RESULTS = re.compile(r"(?:(?P<date>.+)_)?results\.json")
UNKNOWN = "unknown@unknown"
"""What it writes for its version where it does not run from a git checkout."""

SECRET = re.compile("key|token|secret|password", re.IGNORECASE)


def is_sample(record: Mapping[str, Json]) -> bool:
    """True for a line of a samples file."""
    return "doc_id" in record and "filtered_resps" in record


def samples(
    records: Iterable[tuple[str, Mapping[str, Json]]],
    first: Mapping[str, Json],
    conventions: Conventions,
) -> Predictions:
    """A samples file, whose first line is `first`: it tells whether lines have a sample's id.

    Without one they name their sample by its row number in the split, `doc_id`, only.
    """
    by_row = _names_rows(first, conventions)
    return Predictions(
        format="lmms-eval samples",
        lines=(_line(r, where, conventions, by_row) for where, r in records),
        by_row_number=by_row,
    )


def runs(files: Sequence[Path], known: Mapping[str, Known]) -> Iterator[HarnessRun | Skipped]:
    """The runs among the files of a result folder; `known` are the tasks that we have."""
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    documents: dict[tuple[Path, str], Mapping[str, Any]] = {}
    damaged: set[tuple[Path, str]] = set()
    for path in files:
        if found := SAMPLES.fullmatch(path.name):
            key = (path.parent, found["date"] or "")
            groups.setdefault(key, {})[found["task"]] = path
        elif found := RESULTS.fullmatch(path.name):
            key = (path.parent, found["date"] or "")
            try:
                document = _results(path)
            except VlmbenchError as error:
                yield Skipped(str(path.parent), f"{error}; remove it to take the samples alone")
                damaged.add(key)
                continue
            if document:
                documents[key] = document
    for key in sorted((groups.keys() | documents.keys()) - damaged):
        yield from _run(*key, documents.get(key, {}), groups.get(key, {}), known)


def _line(
    record: Mapping[str, Json], where: str, conventions: Conventions, by_row_number: bool
) -> Line:
    """A line of a samples file; the response is the text that lmms-eval scored.

    Raises: VlmbenchError also where the line has no id though the file's first line had one.
    """
    logged, id_key = next(_logged(record, conventions), (record, "doc_id"))
    if by_row_number:
        logged, id_key = record, "doc_id"
    elif logged is record:
        raise VlmbenchError(f"{where}: no sample's id, though earlier lines have one")
    key = identity(logged, id_key, where)
    if by_row_number and not isinstance(key, int):
        raise wrong(id_key, key, "a row's number", where)
    extraction = _extraction(record) if conventions.gold == "problem" else ""
    prediction = Prediction(
        id=key,
        response=_response(record, where),
        final=extraction,
        is_final=bool(extraction),
    )
    prompt = record.get("input")
    return Line(
        prediction=prediction,
        row=_row(record, logged, key, conventions),
        where=where,
        prompt=prompt if isinstance(prompt, str) else "",
    )


def _names_rows(first: Mapping[str, Json], conventions: Conventions) -> bool:
    return next(_logged(first, conventions), None) is None


def _logged(
    record: Mapping[str, Json], conventions: Conventions
) -> Iterator[tuple[Mapping[str, Json], str]]:
    """Objects that have a sample's id, each with the id's key: `doc`, or a metric's record."""
    for value in record.values():
        if isinstance(value, Mapping):
            for key in conventions.ids:
                if key in value:
                    yield value, key


def _response(record: Mapping[str, Json], where: str) -> str:
    """A string since 0.7, a list of one before."""
    if "filtered_resps" not in record:
        raise missing("filtered_resps", record, where)
    value = record["filtered_resps"]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return value
    raise wrong("filtered_resps", value, "one response a sample (no repeats), as text", where)


def _extraction(record: Mapping[str, Json]) -> str:
    """The answer that lmms-eval's judge extracted, which was scored in place of the response.

    Empty also where the judge could not be reached: then the response itself is to be read.
    """
    metrics = (value for value in record.values() if isinstance(value, Mapping))
    extraction = next((m["extraction"] for m in metrics if "extraction" in m), "")
    return extraction if isinstance(extraction, str) else ""


def _row(
    record: Mapping[str, Json], logged: Mapping[str, Json], key: Json, conventions: Conventions
) -> Mapping[str, Json] | None:
    """The sample under the hub's column names, where the log has what its scorer needs."""
    if conventions.lmms_eval and conventions.lmms_eval.rewrites_gold:
        return None
    if isinstance(doc := record.get("doc"), Mapping):
        return doc
    match conventions.gold:
        case "row":
            return logged if "answer" in logged else None
        case "problem":
            return _problem(logged, key) if "answer_type" in logged else None
        case "answers":
            answers = _texts(record.get("target"))
            return {"question": record.get("input"), "answers": answers} if answers else None
        case "options" | "absent":
            return None
        case _:
            assert_never(conventions.gold)


def _problem(logged: Mapping[str, Json], key: Json) -> Mapping[str, Json]:
    # lmms-eval moves the fields of `metadata` into the record itself when it aggregates
    flat = {name: logged[name] for name in METADATA if name in logged}
    question = logged.get("query", "")  # it holds the question, which is not logged
    metadata = logged.get("metadata", flat)
    return {**logged, "pid": key, "metadata": metadata, "question": question}


def _texts(target: Json) -> list[Json] | None:
    """The list of strings that lmms-eval stored with `str`."""
    try:
        value = ast.literal_eval(target) if isinstance(target, str) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if is_list else None


def _run(
    folder: Path,
    date: str,
    document: Mapping[str, Any],
    files: Mapping[str, Path],
    known: Mapping[str, Known],
) -> Iterator[HarnessRun | Skipped]:
    config = _mapping(document, "config")
    model = document.get("model_name") or config.get("model") or folder.name
    version = str(document.get("lmms_eval_version") or "")
    tasks = []
    for name in sorted({*files, *_mapping(document, "results")}):
        if name not in known:
            yield Skipped(f"{name} of {folder}", "there is no such split here")
        elif name not in files:
            yield Skipped(f"{name} of {folder}", "no samples are logged (--log_samples)")
        else:
            try:
                tasks.append(_task(name, files[name], document, known[name]))
            except VlmbenchError as error:
                yield Skipped(f"{name} of {folder}", str(error))
    if tasks:
        yield HarnessRun(
            harness="lmms-eval",
            version="" if version == UNKNOWN else version,
            model=str(model),
            date=str(document.get("date") or date),
            folder=folder,
            tasks=tuple(tasks),
            settings={
                "model": config.get("model"),
                "model_args": _without_secrets(config.get("model_args")),
                "git_hash": document.get("git_hash"),
                "batch_size": config.get("batch_size"),
                "limit": config.get("limit"),
            },
        )


def _task(name: str, path: Path, document: Mapping[str, Any], known: Known) -> HarnessTask:
    scores = {
        key.split(",")[0]: value
        for key, value in _mapping(_mapping(document, "results"), name).items()
    }
    metrics = known.names.metrics
    metric = next((one for one in metrics if one in scores), next(iter(metrics), ""))
    score = number(scores.get(metric))
    config = _mapping(_mapping(document, "configs"), name)
    asked = _mapping(config, "lmms_eval_specific_kwargs")
    shots = _mapping(document, "n-shot").get(name) or config.get("num_fewshot")
    return HarnessTask(
        name=name,
        spec=f"{known.task}@{known.splits[0]}",
        predictions=path,
        reported=None if score is None else known.names.percent * score,
        metric=metric,
        values=_values(path, known.conventions, metric),
        shots=shots if isinstance(shots, int) else 0,
        has_ocr=bool(asked.get("ocr") or _mapping(asked, "default").get("ocr")),
        settings={
            "generation": config.get("generation_kwargs"),
            "prompt": dict(asked),
            "version": _mapping(document, "versions").get(name),
        },
    )


def _values(path: Path, conventions: Conventions, metric: str) -> dict[str, float]:
    values: dict[str, float] = {}
    by_row: bool | None = None
    for where, record in own_lines.records(path):
        if by_row is None:
            by_row = _names_rows(record, conventions)
        credit = _credit(record.get(metric))
        key = _line(record, where, conventions, by_row).key
        if credit is not None:
            values[key] = credit
    if by_row is None:
        raise VlmbenchError(f"{path} is empty")
    return values


def _credit(logged: Any) -> float | None:
    """What the harness gave for a sample; None where it is known of the aggregate only."""
    if isinstance(logged, bool | int | float):
        return number(logged)
    if not isinstance(logged, Mapping):
        return None
    if "true_false" in logged:  # MathVista
        return float(bool(logged["true_false"]))
    if logged.get("question_type") == "multiple-choice" and "parsed_pred" in logged:  # MMMU
        parsed = logged["parsed_pred"]
        return float((parsed[0] if isinstance(parsed, list) else parsed) == logged.get("answer"))
    return None


def _results(path: Path) -> Mapping[str, Any] | None:
    """The document of aggregate scores; None: a file of that name that is something else's."""
    try:
        # NaN and Infinity, which it writes for what it cannot compute, are unknown figures
        with files.opened(path) as file:
            document = json.loads(file.read(), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise VlmbenchError(f"cannot read {path}: {error}") from None
    is_ours = isinstance(document, Mapping) and isinstance(document.get("results"), Mapping)
    return document if is_ours else None


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def _without_secrets(arguments: Any) -> Any:
    if isinstance(arguments, Mapping):
        return {key: value for key, value in arguments.items() if not SECRET.search(str(key))}
    if isinstance(arguments, str):
        parts = arguments.split(",")
        return ",".join(part for part in parts if not SECRET.search(part.partition("=")[0]))
    return None
