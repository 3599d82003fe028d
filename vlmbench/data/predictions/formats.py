"""Formats recognised from content: of a prediction file, and of a harness's result folder."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from vlmbench.data.predictions import (
    harness_runs,
    lmms_eval,
    own_lines,
    sheets,
    submissions,
    text_file,
    vlmevalkit,
)
from vlmbench.data.predictions.conventions import Conventions
from vlmbench.data.predictions.harness_runs import HarnessRun, Skipped
from vlmbench.data.predictions.line import Predictions, kind, nearest
from vlmbench.data.predictions.own_lines import Record
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json

EXPECTED = (
    'expected JSON lines {"id": ..., "response": ...}, or a file of lmms-eval, VLMEvalKit or the '
    "benchmark's own submission format"
)
EXPECTED_RUNS = (
    "expected lmms-eval's *_results.json and *_samples_TASK.jsonl, or VLMEvalKit's "
    "MODEL_DATASET.xlsx, .tsv or .json"
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

    Raises: VlmbenchError with the file and line, here or while `lines` is consumed.
    """
    head = _head(path)
    for signature, what in OTHER_FILES.items():
        if head.startswith(signature):
            raise VlmbenchError(f"{path} is {what}; {EXPECTED}")
    if head.startswith(b"PK"):
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
    ]
    if not found:
        raise VlmbenchError(f"{folder} holds no results of another harness; {EXPECTED_RUNS}")
    runs = [run for run in found if isinstance(run, HarnessRun)]
    return runs, [one for one in found if isinstance(one, Skipped)]


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise VlmbenchError(f"{path} is a folder; name the prediction file in it")
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
    """JSON lines of ours or lmms-eval's, or one object by id: the first line tells."""
    could_be_by_id = submissions.is_by_id(conventions)
    if first.strip() == "{" or (could_be_by_id and _is_by_id(path, first, where)):
        return _by_id(path, conventions)
    record = own_lines.record(first, where)
    if lmms_eval.is_sample(record):
        return lmms_eval.samples(path, record, conventions)
    records = own_lines.records(path)
    lines = (own_lines.ours(record, where, conventions) for where, record in records)
    return Predictions(format="vlmbench jsonl", lines=lines)


def _is_by_id(path: Path, first: str, where: str) -> bool:
    """True for one object on one line, or one with line breaks between its entries."""
    try:
        record = own_lines.record(first, where)
    except VlmbenchError:
        return first.rstrip().endswith(",")
    is_ours = "id" in map(str.lower, record) or nearest("response", record)
    num_lines = len(list(itertools.islice(text_file.lines(path), 2)))
    return num_lines == 1 and not is_ours and not lmms_eval.is_sample(record)


def _by_id(path: Path, conventions: Conventions) -> Predictions:
    document = _load(path, own_lines.refuse_constant)
    if not isinstance(document, dict) or not submissions.is_by_id(conventions):
        raise VlmbenchError(f"{path}: one JSON object, which is no prediction file; {EXPECTED}")
    if not document:
        raise VlmbenchError(f"{path} holds no predictions")
    lines = submissions.by_id(path, document, conventions)
    return Predictions(format=submissions.name(conventions), lines=lines)


def _list(path: Path, conventions: Conventions) -> Predictions:
    """A list of answers, of VLMEvalKit's rows, or of objects that are lines of ours."""
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
    columns = entries[0][1]
    if "prediction" in columns and "response" not in columns:
        lines = vlmevalkit.lines(path, conventions, columns, entries)
        return Predictions(format="VLMEvalKit json", lines=lines)
    if constants:  # VLMEvalKit writes NaN for an empty cell; elsewhere it is a mistake
        raise VlmbenchError(f"{path}: {constants[0]} is not JSON; write null or text")
    if nearest("response", columns):
        lines = (own_lines.ours(entry, where, conventions) for where, entry in entries)
        return Predictions(format="vlmbench json", lines=lines)
    lines = submissions.answers(entries, conventions)
    return Predictions(format=submissions.name(conventions), lines=lines)


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
