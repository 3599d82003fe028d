from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.data.predictions import Line, read
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Prediction
from vlmbench.task.loading import conventions_of

Write = Callable[[str | bytes], Path]
LAYOUTS = [None, 0, 4]
"""json.dump's `indent`: all in one line, or over many."""


@pytest.mark.parametrize("indent", LAYOUTS)
@pytest.mark.parametrize(
    ("task", "key", "name"),
    [
        ("vqav2", "question_id", "vqav2-evalai submission"),
        ("textvqa", "question_id", "textvqa-evalai submission"),
        ("docvqa", "questionId", "docvqa-rrc submission"),
        ("docvqa", "question_id", "docvqa-rrc submission"),
        ("a_users_own", "id", "list of answers"),
    ],
)
def test_a_list_of_answers_is_read(
    write: Write, task: str, key: str, name: str, indent: int | None
) -> None:
    entries = [{key: 262144000, "answer": "yes"}, {key: 262144001, "answer": ""}]
    path = write(json.dumps(entries, indent=indent))
    predictions = read(path, conventions_of(task))
    assert predictions.format == name
    assert list(predictions.lines) == [
        Line(prediction=Prediction(id=i, response=r), row=None, where=f"{path}: entry {n}")
        for n, i, r in ((1, 262144000, "yes"), (2, 262144001, ""))
    ]


@pytest.mark.parametrize("indent", LAYOUTS)
def test_answers_of_an_mmmu_object_are_final(write: Write, indent: int | None) -> None:
    answers = {"validation_Accounting_1": "D", "validation_Art_14": "0.0", "test_Art_1": ""}
    path = write(json.dumps(answers, indent=indent) + "\n")
    predictions = read(path, conventions_of("mmmu"))
    assert predictions.format == "mmmu-evalai submission"
    lines = list(predictions.lines)
    assert [line.prediction for line in lines] == [
        Prediction(id=id, response=answer, final=answer, is_final=True)
        for id, answer in answers.items()
    ]
    assert lines[1].where == f"{path}: 'validation_Art_14'"


def test_an_mmmu_object_may_break_lines_between_its_entries(write: Write) -> None:
    lines = read(
        write('{"validation_Art_1": "D",\n "validation_Art_2": "A"}'), conventions_of("mmmu")
    ).lines
    assert [line.prediction.final for line in lines] == ["D", "A"]


def test_false_in_an_mmmu_object_is_an_answer_that_was_not_found(write: Write) -> None:
    (line,) = read(write('{"test_Art_1": false}'), conventions_of("mmmu")).lines
    assert line.prediction == Prediction(id="test_Art_1", response="", final="", is_final=True)


PROBLEM = {
    "question": "Which?",
    "image": "images/3.jpg",
    "choices": ["cat", "dog"],
    "unit": None,
    "precision": None,
    "answer": "cat",
    "question_type": "multi_choice",
    "answer_type": "text",
    "pid": "3",
    "metadata": {"split": "testmini", "skills": []},
}
OUTPUT = {"response": "It is (A)", "extraction": "A", "prediction": "cat", "true_false": True}


@pytest.mark.parametrize("indent", LAYOUTS)
def test_a_mathvista_object_carries_problems_and_extractions(
    write: Write, indent: int | None
) -> None:
    path = write(json.dumps({"3": PROBLEM | OUTPUT}, indent=indent))
    predictions = read(path, conventions_of("mathvista"))
    assert predictions.format == "mathvista submission"
    want = Prediction(id="3", response="It is (A)", final="A", is_final=True)
    assert list(predictions.lines) == [Line(prediction=want, row=PROBLEM, where=f"{path}: '3'")]


@pytest.mark.parametrize("extraction", [None, "", 4, [1, 2]])
def test_a_mathvista_extraction_is_final_whatever_it_is(write: Write, extraction: Any) -> None:
    (line,) = read(
        write(json.dumps({"9": {"extraction": extraction}})), conventions_of("mathvista")
    ).lines
    want = Prediction(id="9", response=None, final=extraction, is_final=True)
    assert (line.prediction, line.row) == (want, None)


def test_a_mathvista_problem_without_an_extraction_is_read_from_its_response(write: Write) -> None:
    (line,) = read(
        write(json.dumps({"3": PROBLEM | {"response": "cat"}})), conventions_of("mathvista")
    ).lines
    assert line.prediction == Prediction(id="3", response="cat")


BAD = [
    (
        "vqav2",
        '[{"question_id": 1, "answer": 2}]',
        ": entry 1: 'answer' is the number 2, expected te",
    ),
    ("vqav2", '[{"question_id": 1, "answer": 4}]', ": entry 1: 'answer' is the number 4, expected"),
    ("vqav2", '[{"question_id": 1, "answer": NaN}]', ": NaN is not JSON; write null or text"),
    (
        "vqav2",
        '[{"question_id": true, "answer": "a"}]',
        ": entry 1: 'question_id' is true, expected",
    ),
    ("vqav2", '[{"question_id": 1, "anwser": "a"}]', ": entry 1: no 'answer'; is 'anwser' meant"),
    ("docvqa", '[{"answer": "a"}]', ": entry 1: no 'questionId'; there are: 'answer'"),
    ("vqav2", '[{"question_id": 1, "answer": "a"}', ":1: not JSON: Expecting ',' delimiter"),
    (
        "vqav2",
        '[{"id": 1, "response": "a"}, {"id": 2}]',
        ": entry 2: no 'response'; there are: 'id'",
    ),
    (
        "mmmu",
        '{"validation_Art_1": "A", "validation_Art_1": "B"}',
        ": key 'validation_Art_1' stands",
    ),
    (
        "mmmu",
        '{"validation_Art_1": 4}',
        ": 'validation_Art_1' is the number 4, expected a let",
    ),
    (
        "mmmu",
        '{"validation_Art_1": null}',
        ": 'validation_Art_1' is null, expected a letter or",
    ),
    ("mmmu", '{"validation_Art_1": NaN}', ":1: NaN is not JSON; write null or text"),
    ("mmmu", '{\n"validation_Art_1": "A"\n', ":3: not JSON: Expecting ',' delimiter"),
    ("mmmu", "{\n}", " holds no predictions"),
    ("mmmu", '{"id": "validation_Art_1", "reponse": "A"}', ":1: no 'response'; is 'reponse' meant"),
    ("mmmu", '{"Id": "validation_Art_1", "answer": "A"}', ":1: no 'id'; is 'Id' meant for it?"),
    ("mmmu", '{"pid": "1", "text": "A"}\n{"pid": "2"}', ":1: no 'response'; there are: 'pid', 'te"),
    ("mmmu", '{"ID": "validation_Art_1", "response": "A"}', ":1: no 'id'; is 'ID' meant for it?"),
    (
        "mathvista",
        '{"3": "cat"}',
        ": '3' is text, expected an object with 'response'",
    ),
    ("mathvista", '{"3": {"reponse": "cat"}}', ": '3': no 'response'; is 'reponse' meant for it?"),
    ("mathvista", '{"3": {"response": 4}}', ": '3': 'response' is the number 4, expected text"),
]


@pytest.mark.parametrize(("task", "content", "message"), BAD, ids=[c for _, c, _ in BAD])
def test_a_bad_entry_is_named(write: Write, task: str, content: str, message: str) -> None:
    path = write(content)
    with pytest.raises(VlmbenchError) as caught:
        list(read(path, conventions_of(task)).lines)
    assert str(caught.value).startswith(f"{path}{message}")
