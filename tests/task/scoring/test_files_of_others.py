"""`vlmbench score` on answer files of other tools, with a data set and without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def textvqa_rows(tmp_path: Path) -> Path:
    """Four questions about two pictures; one question is a part of another's."""
    asked = [
        ("a1", "what is the number?", "7"),
        ("a1", "what is the number? on the lid", "9"),
        ("b2", "what is the number?", "3"),
        ("b2", "Who made it?", "acme"),
    ]
    rows = [
        {"question_id": 34600 + n, "image_id": image, "question": question, "answers": [gold] * 10}
        for n, (image, question, gold) in enumerate(asked)
    ]
    (tmp_path / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def llava(picture: str, question: str, text: str) -> dict[str, Any]:
    prompt = f"{question}\nReference OCR token: ACME, 7\nAnswer the question using a single word."
    return {"question_id": picture, "prompt": prompt, "text": text, "model_id": "m"}


LLAVA = [
    llava("a1", "what is the number? on the lid", "9"),
    llava("a1", "what is the number?", "7"),
    llava("b2", "Who made it?", "Acme"),
    llava("b2", "what is the number?", "3"),
]


def test_llavas_textvqa_answers_are_matched_by_picture_and_question(
    score: Any, textvqa_rows: Path
) -> None:
    outcome = score("textvqa", LLAVA, "--data-dir", str(textvqa_rows), "--json")
    assert (outcome.code, outcome.json["score"], outcome.json["n"]) == (0, 100, 4)
    cut = score("textvqa", LLAVA[:3], "--data-dir", str(textvqa_rows))
    assert cut.code == 2 and "no prediction for 1 id (34602)" in cut.err
    other = [*LLAVA, llava("c3", "what is it?", "x")]
    outcome = score("textvqa", other, "--data-dir", str(textvqa_rows))
    assert outcome.code == 2 and "1 id (c3) not in textvqa@validation" in outcome.err


def mmmu(gold: str, response: str, number: int) -> dict[str, Any]:
    return {
        "id": f"validation_Art_{number}",
        "question_type": "multiple-choice",
        "answer": gold,
        "all_choices": ["A", "B"],
        "index2ans": {"A": "a clay jug", "B": "a tin kettle"},
        "response": response,
    }


def content(entries: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(entries).encode()


@pytest.fixture
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlmbench.data import splits

    monkeypatch.setattr(splits, "is_here", lambda split: False)


@pytest.mark.usefixtures("nothing_cached")
def test_gold_answers_beside_the_answers_are_used_without_a_data_set(score: Any) -> None:
    entries = [mmmu("B", "(B)", 1), mmmu("A", "B", 2)]
    entries.append(
        {"id": "validation_Art_3", "question_type": "short-answer", "response": "It's 7"}
    )
    entries[2]["answer"] = ["7", "seven"]
    outcome = score("mmmu", content(entries))
    assert outcome.code == 0 and "by the gold answers in it" in outcome.out
    assert [one["value"] for one in outcome.scores] == [1, 0, 1]
    assert "3 of 900 samples" in outcome.out


def test_a_data_set_comes_before_the_gold_answers_in_a_file(score: Any, tmp_path: Path) -> None:
    row = {"id": "validation_Art_1", "question": "Which?", "options": "['x', 'y']", "answer": "A"}
    row |= {"question_type": "multiple-choice", "image_1": "AA=="}
    (tmp_path / "validation.jsonl").write_text(json.dumps(row))
    data = ("--data-dir", str(tmp_path))
    outcome = score("mmmu", content([mmmu("B", "(B)", 1)]), *data)
    assert [one["value"] for one in outcome.scores] == [0]
    assert "by the gold answers" not in outcome.out


@pytest.mark.usefixtures("nothing_cached")
def test_a_gold_answer_that_is_not_enough_sends_to_the_data_set(
    score: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    entry = {"question_id": 1, "answer": "cat", "annotation": "cat"}
    outcome = score("textvqa", content([entry]))
    assert outcome.code == 2 and "name a local copy with --data-dir" in outcome.err
