"""Formats recognised from content: of a prediction file, and of a harness's result folder."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vlmbench.data.predictions import (
    evalscope,
    harness_runs,
    inspect_ai,
    lmms_eval,
    objects,
    own_lines,
    sheets,
    submissions,
    text_file,
    vlmevalkit,
)
from vlmbench.data.predictions.conventions import Conventions
from vlmbench.data.predictions.harness_runs import HarnessRun, Skipped
from vlmbench.data.predictions.line import Predictions, kind, missing, nearest
from vlmbench.data.predictions.own_lines import Record
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json

EXPECTED = (
    'expected JSON lines or a JSON list of {"id": ..., "response": ...}, {"question_id", "answer"} '
    'or {"question_id", "prompt", "text"}, the benchmark\'s own submission format, or a file of '
    "lmms-eval, VLMEvalKit, EvalScope or inspect_ai"
)
EXPECTED_RUNS = (
    "expected lmms-eval's *_results.json and *_samples_TASK.jsonl, VLMEvalKit's "
    "MODEL_DATASET.xlsx, .tsv or .json, EvalScope's reviews/MODEL/*.jsonl, or inspect_ai's *.eval "
    "or *.json"
)
OTHER_FILES = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save it as .xlsx",
    b"\x80": "a Python pickle",
    b"\x00": "no text: it begins with a zero byte",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
}


def read(path: Path, conventions: Conventions) -> Predictions:
    """The predictions of a file for a task with these conventions, in the file's order.

    JSON lines are read one by one as `lines` is consumed; other files are loaded whole. Ids are
    checked for their type only: whether each is there once, the data set's reader can tell.
    A folder, or a name with a `*`, is all its files of one format together.

    Raises: VlmbenchError with the file and line, here or while `lines` is consumed.
    """
    if path.is_dir() or ("*" in path.name and not path.exists()):
        return _joined([read(part, conventions) for part in _parts(path)])
    head = _head(path)
    for signature, what in OTHER_FILES.items():
        if head.startswith(signature):
            raise VlmbenchError(f"{path} is {what}; {EXPECTED}")
    if head.startswith(b"PK"):
        if inspect_ai.is_archive(path):
            return inspect_ai.of_archive(path, conventions)
        return _sheet(path, conventions, sheets.read_xlsx(path), "xlsx")
    first = next(text_file.lines(path), None)
    if first is None:
        raise VlmbenchError(f"{path} is empty; {EXPECTED}")
    number, line = first
    if line.lstrip().startswith("["):
        return _list(path, conventions)
    if line.lstrip().startswith("{"):
        return _objects(path, conventions, line, f"{path}:{number}")
    if "\t" in line:
        return _sheet(path, conventions, sheets.read_tsv(path), "tsv")
    raise VlmbenchError(f"{path}:{number}: starts with {line.strip()[:40]!r}; {EXPECTED}")


def find_runs(
    folder: Path, benchmarks: Mapping[str, Conventions]
) -> tuple[list[HarnessRun], list[Skipped]]:
    """Runs of other harnesses in a folder and its subfolders, and tasks without a counterpart here.

    `benchmarks`: our tasks by name.

    Raises: VlmbenchError where there is no such folder, or nothing of either harness in it.
    """
    if not folder.is_dir():
        raise VlmbenchError(f"no folder {folder}; {EXPECTED_RUNS}")
    paths = sorted({path.resolve(): path for path in folder.rglob("*") if path.is_file()}.items())
    files = [real for real, _ in paths]  # VLMEvalKit links its latest files from the folder above
    found = [
        *lmms_eval.runs(files, harness_runs.by_name(benchmarks, "lmms-eval")),
        *vlmevalkit.runs(files, harness_runs.by_name(benchmarks, "VLMEvalKit")),
        *evalscope.runs(files, harness_runs.by_name(benchmarks, "EvalScope")),
        *inspect_ai.runs(files, harness_runs.by_name(benchmarks, "inspect_ai")),
    ]
    if not found:
        raise VlmbenchError(f"{folder} holds no results of another harness; {EXPECTED_RUNS}")
    runs = [run for run in found if isinstance(run, HarnessRun)]
    return runs, [one for one in found if isinstance(one, Skipped)]


def _parts(path: Path) -> list[Path]:
    """The files that a folder or a pattern stands for, by name.

    Raises: VlmbenchError where there is none, or where they are another harness's whole run.
    """
    if not path.is_dir():
        found = sorted(path.parent.glob(path.name))
    else:  # MMMU's evaluation wants a folder a subject, and writes its own files beside the answers
        found = sorted(path.glob("*/output.json")) or sorted(
            part for part in path.iterdir() if part.suffix in (".json", ".jsonl")
        )
    if not found:
        raise VlmbenchError(
            f"{path} is a folder without *.json, *.jsonl or */output.json; name the prediction "
            "file, or give `vlmbench import` the folder of another harness's run"
        )
    return found


def _joined(parts: Sequence[Predictions]) -> Predictions:
    """Files of one format as one. Raises: VlmbenchError where they differ, or number their rows."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if other := next((part for part in parts if part.format != first.format), None):
        raise VlmbenchError(
            f"the files together are of several formats ({first.format}, {other.format}); "
            "name one of them"
        )
    if first.by_row_number:
        raise VlmbenchError("several files that number their rows, each from 0; name one of them")
    lines = itertools.chain.from_iterable(part.lines for part in parts)
    return replace(first, format=f"{first.format}, {len(parts)} files", lines=lines)


def _head(path: Path) -> bytes:
    if path.is_fifo() or path.is_char_device():
        raise VlmbenchError(f"{path} is no file on disk; save the predictions to one first")
    try:
        with path.open("rb") as file:
            return file.read(8)
    except FileNotFoundError:
        raise VlmbenchError(f"no prediction file {path}") from None
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from None


def _objects(path: Path, conventions: Conventions, first: str, where: str) -> Predictions:
    """JSON lines, or one object: the first line tells."""
    try:
        record = own_lines.record(first, where)
    except VlmbenchError:
        if first.strip() == "{" or first.rstrip().endswith((",", "[", "{")):
            return _document(path, conventions)
        raise
    num_lines = len(list(itertools.islice(text_file.lines(path), 2)))
    is_answer = (
        _known(record, conventions) or objects.response_key(record) or nearest("response", record)
    )
    if inspect_ai.is_document(record) or (num_lines == 1 and not is_answer):
        return _document(path, conventions)
    return _of_records(record, own_lines.records(path), conventions, "jsonl", where)


def _known(record: Record, conventions: Conventions) -> bool:
    """True for an object with an answer, of any format."""
    return (
        lmms_eval.is_sample(record)
        or evalscope.is_line(record)
        or objects.shape_of(record, conventions) is not None
    )


def _of_records(
    first: Record,
    records: Iterable[tuple[str, Record]],
    conventions: Conventions,
    suffix: str,
    where: str,
) -> Predictions:
    """Objects with an answer each, in the format that the first of them shows."""
    if lmms_eval.is_sample(first):
        return lmms_eval.samples(records, first, conventions)
    if evalscope.is_line(first):
        return evalscope.lines(first, records, conventions)
    shape = objects.shape_of(first, conventions)
    if shape is None and not nearest("response", first):
        names = ("response", "answer", "prediction")
        lacking = next((name for name in names if nearest(name, first)), "response")
        if objects.response_key(first):
            lacking = conventions.ids[0]
        raise VlmbenchError(f"{missing(lacking, first, where)}; {EXPECTED}")
    is_ours = shape is None or ("id" in first and shape.response == "response")
    if is_ours and "custom_id" not in first:
        ours = (own_lines.ours(record, place, conventions) for place, record in records)
        has_gold = shape is not None and shape.has_gold and "sample" not in first
        return Predictions(format=f"vlmbench {suffix}", lines=ours, has_gold_only=has_gold)
    assert shape is not None
    if shape.response == "prediction" and shape.id in conventions.ids:
        lines = vlmevalkit.lines(where, conventions, first, records)
        return Predictions(format=f"VLMEvalKit {suffix}", lines=lines)
    is_plain = shape.response == "answer" and not shape.has_gold
    return Predictions(
        format=submissions.name(conventions) if is_plain else shape.name,
        lines=objects.lines(shape, records, conventions),
        ids_name_pictures=shape.ids_name_pictures,
        has_gold_only=shape.has_gold,
    )


def _document(path: Path, conventions: Conventions) -> Predictions:
    """One object: an answer, answers by their ids, or a log of inspect_ai."""
    document = _load(path, own_lines.refuse_constant)
    if not isinstance(document, dict):
        raise VlmbenchError(f"{path}: {kind(document)}, which is no prediction file; {EXPECTED}")
    if not document:
        raise VlmbenchError(f"{path} holds no predictions")
    if inspect_ai.is_document(document):
        return inspect_ai.of_document(path, document, conventions)
    if _known(document, conventions):
        entry = [(str(path), document)]
        return _of_records(document, entry, conventions, "json", str(path))
    if submissions.is_by_id(conventions):
        lines = submissions.by_id(path, document, conventions)
        return Predictions(format=submissions.name(conventions), lines=lines)
    if all(isinstance(v, str) and any(map(str.isdigit, key)) for key, v in document.items()):
        return Predictions(format="answers by id", lines=submissions.texts_by_id(path, document))
    keys = ", ".join(map(repr, list(document)[:12]))
    raise VlmbenchError(
        f"{path}: one JSON object, which is no prediction file (keys: {keys}); {EXPECTED}"
    )


def _list(path: Path, conventions: Conventions) -> Predictions:
    """A list of objects with an answer each."""
    constants: list[str] = []
    document = _load(path, constants.append)
    assert isinstance(document, list)  # the file starts with a bracket
    entries: list[tuple[str, Record]] = []
    for number, entry in enumerate(document, 1):
        if not isinstance(entry, dict):
            raise VlmbenchError(f"{path}: entry {number} is {kind(entry)}, expected an object")
        entries.append((f"{path}: entry {number}", entry))
    if not entries:
        raise VlmbenchError(f"{path} holds no predictions")
    where, first = entries[0]
    found = _of_records(first, entries, conventions, "json", where)
    if constants and not found.format.startswith(
        "VLMEvalKit"
    ):  # which writes NaN for an empty cell
        raise VlmbenchError(f"{path}: {constants[0]} is not JSON; write null or text")
    return found


def _load(path: Path, constant: Callable[[str], None]) -> Json:
    def unique(pairs: list[tuple[str, Json]]) -> Record:
        record = dict(pairs)
        if len(record) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise VlmbenchError(f"{path}: key {twice!r} stands twice in one object")
        return record

    text = text_file.whole(path)
    try:
        document: Json = json.loads(text, parse_constant=constant, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise VlmbenchError(f"{where}: not JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise VlmbenchError(f"{path}: {own_lines.reason(error)}") from None
    return document


def _sheet(path: Path, conventions: Conventions, sheet: sheets.Sheet, suffix: str) -> Predictions:
    rows = ((f"{path}:{number}", cells) for number, cells in sheet.rows)
    lines = vlmevalkit.lines(path, conventions, sheet.columns, rows)
    if not sheet.rows:
        raise VlmbenchError(f"{path} holds no predictions")
    submission = conventions.submission
    is_upload = submission and submission.format == "sheet" and "category" not in sheet.columns
    whose = submissions.name(conventions) if is_upload else "VLMEvalKit"
    return Predictions(format=f"{whose} {suffix}", lines=lines)
