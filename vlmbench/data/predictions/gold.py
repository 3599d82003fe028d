"""Gold answers that stand beside a model's answers, as a row under the hub's column names."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import assert_never

from vlmbench.data.predictions.conventions import METADATA, Conventions
from vlmbench.schema import Json

UNAMBIGUOUS = (
    *("annotation", "gt_answers", "gt_answer", "ground_truths", "ground_truth"),
    *("gts", "gt", "golds", "gold", "answers", "target"),
)
"""Keys of a gold answer that cannot be a model's."""

OF_A_QUESTION = ("question_type", "all_choices", "index2ans", "options", "choices")
"""Where one of these stands, "answer" is the question's, and not what was read from a response."""

OPTION = re.compile(r"^\(?([A-Z])[.):] *(.+)$", re.MULTILINE)


def beside(record: Mapping[str, Json], response_key: str) -> Json:
    """The gold answer in a record whose response stands under that key; None: there is none."""
    for key in UNAMBIGUOUS:
        if record.get(key) is not None and key != response_key:
            return record[key]
    if response_key != "answer" and any(key in record for key in OF_A_QUESTION):
        return record.get("answer")
    return None


def row(
    gold: Json, record: Mapping[str, Json], id: Json, question: str, conventions: Conventions
) -> Mapping[str, Json] | None:
    """A row to score by; None where the record has not all that the task's scorer needs.

    `record`: where options, kind of question and the like stand.
    """
    answers = texts(gold)
    if not answers:
        return None
    own_id = conventions.ids[0]
    match conventions.gold:
        case "answers":
            has_all = conventions.num_golds in (None, len(answers))
            return {own_id: id, "question": question, "answers": answers} if has_all else None
        case "options":
            return _options_row(answers, record, id, question)
        case "problem":
            return _problem_row(answers, record, id, question)
        case "row":
            options = options_of(record, question)
            return {**record, own_id: id, **options, "question": question, "answer": answers[0]}
        case "absent":
            return None
        case _:
            assert_never(conventions.gold)


def texts(gold: Json) -> list[str]:
    """Gold answers as texts: of a list, of one that stands in a text, or one alone."""
    if isinstance(gold, str) and gold.lstrip().startswith("["):
        gold = _parsed(gold)
    if isinstance(gold, Mapping):
        gold = gold.get("answer")
    if isinstance(gold, bool) or gold is None:
        return []
    if isinstance(gold, str | int | float):
        return [str(gold)]
    items = [item.get("answer") if isinstance(item, Mapping) else item for item in gold]
    return [str(item) for item in items if isinstance(item, str | int | float)]


def options_of(record: Mapping[str, Json], question: str) -> dict[str, str]:
    """Letter to text, from whatever the record calls its options, else from the question's lines.

    The lines must begin with A, B, ... in order; empty: there are no options.
    """
    by_letter = record.get("index2ans")
    if isinstance(by_letter, Mapping):
        return {letter: str(text) for letter, text in by_letter.items()}
    if isinstance(record.get("A"), str):
        there = [letter for letter in ascii_uppercase if record.get(letter) is not None]
        return {letter: str(record[letter]) for letter in there}
    listed = record.get("options", record.get("choices"))
    if listed is not None:
        return dict(zip(ascii_uppercase, texts(listed), strict=False))
    found = OPTION.findall(question)
    letters = "".join(letter for letter, _ in found)
    is_list = len(found) > 1 and letters == ascii_uppercase[: len(found)]
    return {letter: text.strip() for letter, text in found} if is_list else {}


def _options_row(
    answers: Sequence[str], record: Mapping[str, Json], id: Json, question: str
) -> Mapping[str, Json]:
    options = options_of(record, question)
    kind = record.get("question_type")
    if not isinstance(kind, str):
        kind = "multiple-choice" if len(answers) == 1 and answers[0] in options else "open"
    return {
        "id": id,
        "question": question,
        "question_type": kind,
        "options": list(options.values()),
        "answer": answers[0] if len(answers) == 1 else list(answers),
        "topic_difficulty": record.get("topic_difficulty"),
    }


def _problem_row(
    answers: Sequence[str], record: Mapping[str, Json], id: Json, question: str
) -> Mapping[str, Json] | None:
    if not {"question_type", "answer_type"} <= record.keys():
        return None
    options = options_of(record, question) if record["question_type"] == "multi_choice" else {}
    metadata = record.get("metadata") or {name: record[name] for name in METADATA if name in record}
    return {
        **record,
        "pid": id,
        "question": question,
        "choices": list(options.values()),
        "answer": options.get(answers[0], answers[0]),  # a letter stands for its option
        "metadata": metadata,
    }


def _parsed(text: str) -> Json:
    """The list that stands in a text as JSON or Python writes it; else the text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
    return value if isinstance(value, list) else text
