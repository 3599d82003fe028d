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


def logged(target: Any, response: str, prompt: str = "", **metrics: Any) -> str:
    """A line as lmms-eval 0.7.3 writes it (evaluator.py, loggers/evaluation_tracker.py).

    `doc` and `arguments` are dropped, `resps` too where it equals the filtered response, and a
    list with one response is that response.
    """
    record = {
        "doc_id": metrics.pop("doc_id", 0),
        "target": str(target),
        "filtered_resps": str(response),
        "token_counts": [None],
        "doc_hash": "f00d",
        **metrics,
        "input": prompt,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def logged_with_doc(doc: dict[str, Any], response: str, **metrics: Any) -> str:
    """A line as lmms-eval 0.2 and 0.3 wrote it: with the columns that are no pictures."""
    record = {
        "doc_id": 0,
        "doc": doc,
        "target": str(doc.get("answer")),
        "arguments": {"0": "m", "1": "a"},
        "resps": [[response]],
        "filtered_resps": [response],
        "doc_hash": "f00d",
        "prompt_hash": "f00d",
        "target_hash": "f00d",
        **metrics,
        "input": "prompt",
    }
    return json.dumps(record) + "\n"


def one(path: Path, task: str) -> Line:
    (line,) = read(path, conventions_of(task)).lines
    return line


def test_a_log_of_vqav2_names_its_samples_by_row_number(write: Write) -> None:
    prompt = "Is it red?\nAnswer the question using a single word or phrase."
    path = write(
        logged("answer", " Yes\n", prompt, exact_match=1.0)
        + logged("answer", "", prompt, exact_match=0.0, doc_id=7)
    )
    predictions = read(path, conventions_of("vqav2"))
    assert predictions.format == "lmms-eval samples"
    assert predictions.by_row_number
    first, second = predictions.lines
    assert first == Line(
        prediction=Prediction(id=0, response=" Yes\n"), row=None, where=f"{path}:1", prompt=prompt
    )
    assert (second.prediction.id, second.prediction.response) == (7, "")


@pytest.mark.parametrize(
    ("task", "metrics", "want"),
    [
        ("vqav2", {"submission": {"question_id": 262148000, "answer": "yes"}}, 262148000),
        ("textvqa", {"exact_match": 0.3, "submission": {"question_id": 9, "answer": "y"}}, 9),
        ("docvqa", {"submission": {"questionId": 49153, "answer": "0.28"}}, 49153),
        (
            "mmmu",
            {
                "mmmu_acc": {
                    "id": "validation_Art_1",
                    "subdomain": "Art",
                    "question_type": "multiple-choice",
                    "answer": "B",
                    "parsed_pred": ["A"],
                },
                "submission": {"validation_Art_1": "A"},
            },
            "validation_Art_1",
        ),
    ],
)
def test_the_id_is_taken_from_what_the_task_logged(
    write: Write, task: str, metrics: dict[str, Any], want: object
) -> None:
    path = write(logged("gold", "The answer is B", "prompt", doc_id=5, **metrics))
    assert not read(path, conventions_of(task)).by_row_number
    line = one(path, task)
    assert line.prediction == Prediction(id=want, response="The answer is B")  # type: ignore[arg-type]
    assert line.row is None


def test_a_log_of_docvqa_carries_the_gold_answers(write: Write) -> None:
    path = write(logged(["itc", "it's \\ a"], "ITC", "Which firm?", anls=1.0, doc_id=3))
    assert read(path, conventions_of("docvqa")).by_row_number
    line = one(path, "docvqa")
    assert line.prediction == Prediction(id=3, response="ITC")
    assert line.row == {"question": "Which firm?", "answers": ["itc", "it's \\ a"]}
    for target in (None, "unreadable [", [1]):  # the test split has none
        assert one(write(logged(target, "ITC", "Which firm?", doc_id=3)), "docvqa").row is None


MMBENCH = {
    "index": 1000241,
    "question": "Which one?",
    "answer": "B",
    "prediction": "(B)",
    "hint": "nan",
    "source": "scienceqa",
    "split": "dev",
    "category": "identity_reasoning",
    "L2-category": "attribute_reasoning",
    **{"A": "a cat", "B": "None", "C": "nan", "D": "nan", "E": "nan"},
}


def test_a_log_of_mmbench_carries_its_rows(write: Write) -> None:
    path = write(logged("B", "(B)\n", gpt_eval_score=MMBENCH, submission=MMBENCH))
    line = one(path, "mmbench")
    assert line.prediction == Prediction(id=1000241, response="(B)\n")
    assert line.row is not None
    assert line.row.items() >= {"index": 1000241, "answer": "B", "A": "a cat"}.items()


METADATA = {"category": "math", "skills": ["algebraic reasoning"], "split": "testmini", "task": "t"}
MATHVISTA = {
    "question_id": "17",
    "query": "Hint: ...\nQuestion: How much?",
    "choices": None,
    "answer": "1.45",
    "extraction": "1.449",
    "prediction": "1.45",
    "true_false": True,
    "question_type": "free_form",
    "answer_type": "float",
    "precision": 2.0,
}


@pytest.mark.parametrize("metadata", [METADATA, {"metadata": METADATA}], ids=["summed up", "not"])
def test_a_log_of_mathvista_carries_its_problems_and_extractions(
    write: Write, metadata: dict[str, Any]
) -> None:
    result = MATHVISTA | metadata
    line = one(
        write(logged("1.45", "It is 1.449", llm_as_judge_eval=result, submission=result)),
        "mathvista",
    )
    want = Prediction(id="17", response="It is 1.449", final="1.449", is_final=True)
    assert line.prediction == want
    assert line.row is not None
    assert (line.row["pid"], line.row["precision"], line.row["choices"]) == ("17", 2.0, None)
    assert line.row["metadata"] == METADATA
    assert line.row["question"] == MATHVISTA["query"]


@pytest.mark.parametrize("extraction", ["", None])
def test_an_extraction_that_a_dead_judge_left_empty_is_not_final(
    write: Write, extraction: str | None
) -> None:
    result = MATHVISTA | {"extraction": extraction, "metadata": METADATA}
    line = one(write(logged("1.45", "It is 1.449", llm_as_judge_eval=result)), "mathvista")
    assert line.prediction == Prediction(id="17", response="It is 1.449")


def test_old_logs_carry_the_data_sets_own_columns(write: Write) -> None:
    doc = {"questionId": "49153", "question": "Q?", "answers": ["0.28"], "docId": 4}
    line = one(write(logged_with_doc(doc, "0.28", anls=1.0)), "docvqa")
    assert line.prediction == Prediction(id="49153", response="0.28")
    assert line.row == doc
    problem = {"pid": "17", "answer": "1.45", "answer_type": "float", "metadata": METADATA}
    line = one(write(logged_with_doc(problem, "x", gpt_eval_score=MATHVISTA)), "mathvista")
    assert (line.prediction.id, line.prediction.final, line.row) == ("17", "1.449", problem)


@pytest.mark.parametrize("task", ["vqav2", "textvqa"])
def test_gold_answers_that_lmms_eval_normalised_in_place_are_no_row(
    write: Write, task: str
) -> None:
    doc = {"question_id": 5, "question": "Q?", "answers": ["2"] * 10}
    line = one(write(logged_with_doc(doc, "two", exact_match=0.0)), task)
    assert (line.prediction.id, line.row) == (5, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"doc_id": 0, "filtered_resps": ["a", "b"]}', ":1: 'filtered_resps' is a list, expected"),
        (
            '{"doc_id": 0, "filtered_resps": null}',
            ":1: 'filtered_resps' is null, expected one resp",
        ),
        ('{"doc_id": "0", "filtered_resps": "a"}', ":1: 'doc_id' is text, expected a row's number"),
        (logged("a", "b") + '{"doc_id": 1}', ":2: no 'filtered_resps'; there are: 'doc_id'"),
        (
            logged("a", "b", submission={"question_id": 1}) + logged("a", "b"),
            ":2: no sample's id, though earlier lines have one",
        ),
        (
            logged("a", "b", submission={"question_id": None}),
            ":1: 'question_id' is null, expected text or a number",
        ),
    ],
)
def test_a_bad_line_of_a_log_is_named(write: Write, content: str, message: str) -> None:
    path = write(content)
    with pytest.raises(VlmbenchError) as caught:
        list(read(path, conventions_of("vqav2")).lines)
    assert str(caught.value).startswith(f"{path}{message}")
