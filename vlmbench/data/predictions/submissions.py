"""The files that the benchmarks' own servers take: one JSON list, or one JSON object by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vlmbench.data.predictions import columns
from vlmbench.data.predictions.line import Line, identity, kind, missing, text, wrong
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

ID_KEYS = {
    "vqav2": ("question_id",),
    "textvqa": ("question_id",),
    "docvqa": ("questionId", "question_id"),
}
NAMES = {
    "vqav2": "VQA submission",
    "textvqa": "VQA submission",
    "docvqa": "DocVQA submission",
    "mmmu": "MMMU submission",
    "mathvista": "MathVista submission",
}
BY_ID = ("mmmu", "mathvista")
"""Tasks whose file is an object with an entry for each id."""

OUTPUT_KEYS = ("response", "extraction", "prediction", "true_false")
"""What MathVista's scripts add to a problem."""


def answers(entries: Sequence[tuple[str, Mapping[str, Json]]], task: str) -> Iterator[Line]:
    """`[{"question_id": 1, "answer": "yes"}, ...]`; DocVQA's id is `questionId`."""
    known = ID_KEYS.get(task, columns.IDS)
    for where, entry in entries:
        key = next((name for name in known if name in entry), known[0])
        prediction = Prediction(
            id=identity(entry, key, where), response=text(entry, "answer", where)
        )
        yield Line(prediction=prediction, row=None, where=where)


def by_id(path: Path, entries: Mapping[str, Json], task: str) -> Iterator[Line]:
    line = _mmmu if task == "mmmu" else _mathvista
    return (line(key, entry, f"{path}: {key!r}") for key, entry in entries.items())


def _mmmu(key: str, answer: Json, where: str) -> Line:
    """`{"validation_Art_1": "B", ...}`: the official evaluator takes the answers as final."""
    if answer is False:  # VLMEvalKit's transfer where it found no option in the response
        answer = ""
    if not isinstance(answer, str):
        raise VlmbenchError(f"{where} is {kind(answer)}, expected a letter or text")
    prediction = Prediction(id=key, response=answer, final=answer, is_final=True)
    return Line(prediction=prediction, row=None, where=where)


def _mathvista(key: str, problem: Json, where: str) -> Line:
    """`{"1": {"question": ..., "response": ..., "extraction": ...}, ...}`."""
    if not isinstance(problem, Mapping):
        raise VlmbenchError(f"{where} is {kind(problem)}, expected an object with 'response'")
    response, is_final = problem.get("response"), "extraction" in problem
    if "response" not in problem and not is_final:
        raise missing("response", problem, where)
    if response is not None and not isinstance(response, str):
        raise wrong("response", response, "text", where)
    prediction = Prediction(
        id=key, response=response, final=problem.get("extraction", ""), is_final=is_final
    )
    row = {name: value for name, value in problem.items() if name not in OUTPUT_KEYS}
    has_gold = {"answer", "question_type", "answer_type"} <= row.keys()
    return Line(prediction=prediction, row={**row, "pid": key} if has_gold else None, where=where)
