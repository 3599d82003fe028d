"""VLMEvalKit's result files and MMBench's upload sheet: columns `index`, ..., `prediction`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase

from vlmbench.data.predictions import columns
from vlmbench.data.predictions.line import Line, identity, missing, wrong
from vlmbench.schema import Json, Prediction

ID_COLUMNS = {
    "vqav2": ("question_id", "index"),
    "textvqa": ("question_id", "index"),
    "docvqa": ("questionId", "question_id", "index"),
    "mmmu": ("id",),  # its index is only a running number
    "mathvista": ("pid", "index"),
    "mmbench": ("index",),
}
FAILURE = "Failed to obtain answer"
"""What it writes in place of a response; the reason may follow."""

OTHER_ANSWERS = "Other Answers"
"""Option B that its MMMU scorer writes into open questions; option A is then the gold answer."""


def lines(
    path: Path, task: str, header: Iterable[str], rows: Iterable[tuple[str, Mapping[str, Json]]]
) -> Iterator[Line]:
    """The rows as lines. Raises: VlmbenchError, at once where a column is missing."""
    names = dict.fromkeys(header)
    if "prediction" not in names:
        raise missing("prediction", names, str(path))
    known = ID_COLUMNS.get(task, columns.IDS)
    column = next((name for name in known if name in names), None)
    if column is None:
        raise missing(known[0], names, str(path))
    return (_line(cells, where, task, column) for where, cells in rows)


def _line(cells: Mapping[str, Json], where: str, task: str, column: str) -> Line:
    key = identity(cells, column, where)
    if "prediction" not in cells:
        raise missing("prediction", cells, where)
    cell = cells["prediction"]
    if isinstance(cell, list | dict):  # in a JSON file
        raise wrong("prediction", cell, "text", where)
    response = _text(cell)
    has_failed = response.startswith(FAILURE)
    is_final = task == "mathvista" and "res" in cells
    prediction = Prediction(
        id=key,
        response=None if has_failed else response,
        error=response if has_failed else "",
        final=_text(cells.get("res")) if is_final else "",
        is_final=is_final,
    )
    return Line(prediction=prediction, row=_row(cells, key, task, where), where=where)


def _text(cell: Json) -> str:
    """A sheet cannot tell empty text from an empty cell: taken as a model that said nothing."""
    return "" if cell is None else str(cell)


def _row(cells: Mapping[str, Json], key: Json, task: str, where: str) -> Mapping[str, Json] | None:
    """The sample under the hub's column names; None where the sheet has no gold answer for it."""
    answer = cells.get("answer")
    if answer is None:
        return None
    if task in ("textvqa", "docvqa"):
        name = "question_id" if task == "textvqa" else "questionId"
        question = _text(cells.get("question"))
        return {name: key, "question": question, "answers": _list(answer) or [_text(answer)]}
    if task == "mmmu":
        return _mmmu(cells, _text(answer))
    if task == "mathvista":
        return _mathvista({**cells, "pid": key, "answer": _text(answer)}, where)
    return {**cells, "answer": _text(answer)} if task == "mmbench" else None


def _mmmu(cells: Mapping[str, Json], answer: str) -> Mapping[str, Json]:
    letters = [name for name in ascii_uppercase if cells.get(name) is not None]
    is_rewritten = letters == ["A", "B"] and cells["B"] == OTHER_ANSWERS
    options: list[Json] = [] if is_rewritten else [_text(cells[name]) for name in letters]
    kind = "multiple-choice" if options else "open"
    return {**cells, "options": options, "answer": answer, "question_type": kind}


def _mathvista(cells: Mapping[str, Json], where: str) -> Mapping[str, Json] | None:
    if not {"question_type", "answer_type"} <= cells.keys():
        return None
    names = (name for name in columns.MATHVISTA_METADATA if cells.get(name) is not None)
    metadata = {name: cells[name] for name in names}
    if "skills" in metadata:
        metadata["skills"] = _list(metadata["skills"]) or [metadata["skills"]]
    choices = _list(cells.get("choices"))
    return {
        **cells,
        "choices": choices,
        "precision": _precision(cells, where),
        "metadata": metadata,
    }


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
    """A list of texts that stands in the cell as Python source; None where it is no such list."""
    try:
        value = ast.literal_eval(cell) if isinstance(cell, str) else cell
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return [str(item) for item in value] if isinstance(value, list | tuple) else None
