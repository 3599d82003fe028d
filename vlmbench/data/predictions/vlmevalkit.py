"""VLMEvalKit's files: MODEL_DATASET.xlsx, .tsv or .json, in MODEL/T<day>_G<commit> with scores.

Columns are `index`, ..., `prediction`. MMBench's upload sheet is such a file too.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, assert_never

from vlmbench.data.predictions import sheets
from vlmbench.data.predictions.conventions import METADATA, Conventions
from vlmbench.data.predictions.harness_runs import HarnessRun, HarnessTask, Known, Skipped, number
from vlmbench.data.predictions.line import Line, identity, missing, wrong
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

FAILURE = "Failed to obtain answer"
"""What it writes in place of a response; the reason may follow."""

OTHER_ANSWERS = "Other Answers"
"""Option B that its MMMU scorer writes into open questions; option A is then the gold answer."""

SUFFIXES = (".xlsx", ".tsv", ".json")
EVALUATION = re.compile(r"T(?P<date>\d{8})_G(?P<commit>[0-9a-f]+)")
DETAILS = ("_result", "_results")
"""How names of files with a verdict a row end; a judge's name may stand before that."""


def lines(
    path: Path | str,
    conventions: Conventions,
    header: Iterable[str],
    rows: Iterable[tuple[str, Mapping[str, Json]]],
) -> Iterator[Line]:
    """The rows as lines. Raises: VlmbenchError, at once where a column is missing."""
    names = dict.fromkeys(header)
    if "prediction" not in names:
        raise missing("prediction", names, str(path))
    column = next((name for name in conventions.ids if name in names), None)
    if column is None:
        raise missing(conventions.ids[0], names, str(path))
    return (_line(cells, where, conventions, column) for where, cells in rows)


def runs(files: Sequence[Path], known: Mapping[str, Known]) -> Iterator[HarnessRun | Skipped]:
    """The runs among the files of a result folder; `known` are the tasks that we have."""
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in files:
        if named := _named(path, known):
            model, data_set = named
            groups.setdefault((path.parent, model), {}).setdefault(data_set, path)
    for (folder, model), found in sorted(groups.items()):
        evaluation = EVALUATION.fullmatch(folder.name)
        tasks: list[HarnessTask] = []
        for name, path in found.items():
            try:
                tasks += _tasks(name, path, known[name])
            except VlmbenchError as error:
                yield Skipped(f"{name} of {folder}", str(error))
        if not tasks:
            continue
        yield HarnessRun(
            harness="VLMEvalKit",
            version=f"commit {evaluation['commit']}" if evaluation else "",
            model=model,
            date=evaluation["date"] if evaluation else "",
            folder=folder,
            tasks=tuple(tasks),
        )


def _line(cells: Mapping[str, Json], where: str, conventions: Conventions, column: str) -> Line:
    key = identity(cells, column, where)
    if "prediction" not in cells:
        raise missing("prediction", cells, where)
    cell = cells["prediction"]
    if isinstance(cell, list | dict):  # in a JSON file
        raise wrong("prediction", cell, "text", where)
    response = _text(cell)
    has_failed = response.startswith(FAILURE)
    is_final = conventions.gold == "problem" and "res" in cells
    prediction = Prediction(
        id=key,
        response=None if has_failed else response,
        error=response if has_failed else "",
        final=_text(cells.get("res")) if is_final else "",
        is_final=is_final,
    )
    return Line(prediction=prediction, row=_row(cells, key, conventions, where), where=where)


def _text(cell: Json) -> str:
    """A cell as text. An empty one is an empty response: sheets cannot tell the two apart."""
    return "" if cell is None else str(cell)


def _row(
    cells: Mapping[str, Json], key: Json, conventions: Conventions, where: str
) -> Mapping[str, Json] | None:
    """The sample under the hub's column names; None where the sheet has no gold answer for it."""
    if cells.get("answer") is None:
        return None
    answer = _text(cells["answer"])
    match conventions.gold:
        case "answers":
            listed = _list(cells["answer"])
            if not listed and conventions.num_golds:  # one of several: it would score too low
                return None
            golds = listed or [answer]
            question = _text(cells.get("question"))
            return {conventions.ids[0]: key, "question": question, "answers": golds}
        case "options":
            return _options(cells, answer)
        case "problem":
            return _problem({**cells, "pid": key, "answer": answer}, where)
        case "row":
            return {**cells, "answer": answer}
        case "absent":
            return None
        case _:
            assert_never(conventions.gold)


def _options(cells: Mapping[str, Json], answer: str) -> Mapping[str, Json]:
    letters = [name for name in ascii_uppercase if cells.get(name) is not None]
    is_rewritten = letters == ["A", "B"] and cells["B"] == OTHER_ANSWERS
    options: list[Json] = [] if is_rewritten else [_text(cells[name]) for name in letters]
    kind = "multiple-choice" if options else "open"
    return {**cells, "options": options, "answer": answer, "question_type": kind}


def _problem(cells: Mapping[str, Json], where: str) -> Mapping[str, Json] | None:
    if not {"question_type", "answer_type"} <= cells.keys():
        return None
    metadata = {name: cells[name] for name in METADATA if cells.get(name) is not None}
    if "skills" in metadata:
        metadata["skills"] = _list(metadata["skills"]) or [metadata["skills"]]
    choices, precision = _list(cells.get("choices")), _precision(cells, where)
    return {**cells, "choices": choices, "precision": precision, "metadata": metadata}


def _precision(cells: Mapping[str, Json], where: str) -> float | None:
    """Decimals of a "float" answer; the gold answer shows them where the sheet does not say."""
    stated = cells.get("precision")
    if stated is None:
        decimals = _text(cells["answer"]).partition(".")[2]
        return len(decimals) if cells["answer_type"] == "float" else None
    try:
        return float(_text(stated))
    except ValueError:
        raise wrong("precision", stated, "a number", where) from None


def _list(cell: Json) -> list[Json] | None:
    """A list of strings that stands in the cell as Python source; None: it is no such list."""
    try:
        value = ast.literal_eval(cell) if isinstance(cell, str) else cell
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return [str(item) for item in value] if isinstance(value, list | tuple) else None


def _named(path: Path, known: Mapping[str, Known]) -> tuple[str, str] | None:
    """Model and data set that a prediction file is named after."""
    if path.suffix not in SUFFIXES:
        return None
    for name in known:
        if path.stem.endswith(f"_{name}"):
            return path.stem.removesuffix(f"_{name}"), name
    return None


def _tasks(name: str, path: Path, known: Known) -> Iterator[HarnessTask]:
    judged = _judged(path) if known.conventions.gold == "problem" else None
    stem = (judged or path).stem
    values = _values(path, known.conventions.ids)
    for split in known.splits:
        part = split.partition("-")[0]
        score, metric = _score(path.parent / f"{stem}_{'score' if judged else 'acc'}.csv", part)
        yield HarnessTask(
            name=name,
            spec=f"{known.task}@{split}",
            predictions=judged or path,
            id_prefix=f"{split}_" if len(known.splits) > 1 else "",
            reported=None if score is None else known.names.percent * score,
            metric=metric,
            values=values,
            settings={"judge": judged.stem.removeprefix(f"{path.stem}_")} if judged else {},
        )


def _judged(path: Path) -> Path | None:
    """MathVista's sheet with the answers that a judge extracted, which are what was scored."""
    for found in sorted(path.parent.glob(f"{path.stem}_*.xlsx")):
        if (path.parent / f"{found.stem}_score.csv").is_file():
            return found
    return None


def _score(path: Path, split: str) -> tuple[float | None, str]:
    """The overall score of a split in a csv file, and the column that it stands in."""
    if not path.is_file():
        return None, ""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise VlmbenchError(f"cannot read {path}: {error}") from None
    for row in rows:
        if row.get("Task&Skill") == "Overall":
            return number(row.get("acc")), "acc"
        if "Overall" in row and row.get("split", split) in (split, "none"):
            return number(row["Overall"]), "Overall"
    return None, ""


def _values(path: Path, ids: Sequence[str]) -> dict[str, float]:
    """Verdicts by the id in the file, where the file with one verdict a row is there."""
    details = [
        found
        for found in sorted(path.parent.glob(f"{path.stem}_*.*"))
        if found.stem.endswith(DETAILS) and found.suffix in (".xlsx", ".tsv")
    ]
    if not details:
        return {}
    sheet = (sheets.read_xlsx if details[0].suffix == ".xlsx" else sheets.read_tsv)(details[0])
    verdict = next((name for name in ("hit", "eval_score") if name in sheet.columns), None)
    id = next((name for name in ids if name in sheet.columns), None)
    if verdict is None or id is None:
        return {}
    found = ((_key(cells[id]), number(cells.get(verdict))) for _, cells in sheet.rows)
    return {key: value for key, value in found if value is not None}


def _key(id: Any) -> str:
    return str(int(id)) if isinstance(id, float) and id.is_integer() else str(id)
