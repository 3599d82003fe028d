"""MathVista's output file: problems with responses; and the scores file that goes with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlmbench.data.rows import Row
from vlmbench.metrics import mathvista
from vlmbench.reports.submissions.answers import Answer
from vlmbench.reports.submissions.content import Content

GROUPS = (
    *("question_type", "answer_type", "language", "source", "category"),
    *("task", "context", "grade", "skills"),
)
"""What the official scores file counts by, in its order."""


def by_pid(answers: Sequence[Answer]) -> Content:
    """The object `{"1": {"question": ..., "response": ..., "extraction": ...}, ...}`, and scores.

    Where answers are hidden there is no `true_false` and no scores file: the authors make it.

    Source: lupantech/MathVista at 53d5258, results/leaderboad_submission_template and
    evaluation/calculate_score.py.
    """
    entries = {answer.sample.id: _entry(answer) for answer in answers}
    is_public = all(answer.sample.answers for answer in answers)
    return Content(
        main=_json(entries),
        num_entries=len(entries),
        scores=_json(_scores(list(entries.values()))) if is_public else None,
    )


def _entry(answer: Answer) -> dict[str, Any]:
    row = answer.row
    problem = _problem(row)
    extraction = mathvista.extract(answer.response, problem).value or ""
    entry: dict[str, Any] = {
        "question": problem.question,
        "image": row.cell("image"),
        "choices": list(problem.choices) or None,
        "unit": problem.unit,
        "precision": None if problem.precision is None else int(problem.precision),
        "answer": problem.answer,
        "question_type": problem.question_type,
        "answer_type": problem.answer_type,
        "pid": answer.sample.id,
        "metadata": dict(row.record("metadata")),
        "response": answer.response,
        "extraction": extraction,
        "prediction": mathvista.normalize(extraction, problem),
    }
    if answer.sample.answers:
        entry["true_false"] = answer.verdict().value == 1
    return entry


def _problem(row: Row) -> mathvista.Problem:
    return mathvista.Problem(
        question_type=row.text("question_type"),
        answer_type=row.text("answer_type"),
        precision=row.number("precision"),
        choices=row.texts("choices") if row.has("choices") else (),
        unit=row.cell("unit") or None,
        question=row.text("question", missing=""),
        answer=row.cell("answer"),
    )


def _scores(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The scores file; accuracies are text in percent, sorted, as the official script does."""
    average = _accuracy(entries)
    average["accuracy"] = str(round(100 * average["correct"] / average["total"], 2))
    scores: dict[str, Any] = {"average": average}
    for name in GROUPS:
        members: dict[str, list[Mapping[str, Any]]] = {}
        for entry in entries:
            for key in _keys(entry, name):
                members.setdefault(key, []).append(entry)
        counted = {key: _accuracy(found) for key, found in members.items()}
        best_first = sorted(counted.items(), key=lambda item: -float(item[1]["accuracy"]))
        scores[name] = dict(best_first)
    return scores


def _keys(entry: Mapping[str, Any], name: str) -> Iterable[str]:
    value = entry[name] if name in entry else entry["metadata"].get(name)
    if isinstance(value, list | tuple):
        return list(dict.fromkeys(value))
    return [] if value is None else [str(value)]


def _accuracy(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    correct = sum(entry["true_false"] for entry in entries)
    accuracy = f"{100 * correct / len(entries):.2f}"
    return {"accuracy": accuracy, "correct": correct, "total": len(entries)}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=4).encode()
