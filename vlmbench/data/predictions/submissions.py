"""Submission files read back: a JSON list of answers, or one JSON object by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vlmbench.data.predictions.conventions import Conventions
from vlmbench.data.predictions.line import Line, kind, missing, text, wrong
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

OUTPUT_KEYS = ("response", "extraction", "prediction", "true_false")
"""What MathVista's scripts add to a problem."""


def name(conventions: Conventions) -> str:
    """What the task's own format is called for the user: "docvqa-rrc submission"."""
    found = conventions.submission
    return f"{found.server} submission" if found else "list of answers"


def is_by_id(conventions: Conventions) -> bool:
    """True where the task's file is one object with an entry for each id."""
    found = conventions.submission
    return found is not None and found.format in ("letters by id", "problems by id")


def by_id(path: Path, entries: Mapping[str, Json], conventions: Conventions) -> Iterator[Line]:
    """The entries of a file for which `is_by_id`."""
    assert conventions.submission is not None
    line = _letter if conventions.submission.format == "letters by id" else _problem
    return (line(key, entry, f"{path}: {key!r}") for key, entry in entries.items())


def texts_by_id(path: Path, entries: Mapping[str, Json]) -> Iterator[Line]:
    """`{"1": "yes", ...}`: each id's response."""
    for key in entries:
        where = f"{path}: {key!r}"
        prediction = Prediction(id=key, response=text(entries, key, where))
        yield Line(prediction=prediction, row=None, where=where)


def _letter(key: str, answer: Json, where: str) -> Line:
    """`{"validation_Art_1": "B", ...}`: the official evaluator takes the answers as final."""
    if answer is False:  # VLMEvalKit's transfer where it found no option in the response
        answer = ""
    if not isinstance(answer, str):
        raise VlmbenchError(f"{where} is {kind(answer)}, expected a letter or text")
    prediction = Prediction(id=key, response=answer, final=answer, is_final=True)
    return Line(prediction=prediction, row=None, where=where)


def _problem(key: str, problem: Json, where: str) -> Line:
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
