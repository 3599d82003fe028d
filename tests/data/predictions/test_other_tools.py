"""Answer files of other tools: which answer, whose sample, what gold stands beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.data.predictions import Predictions, read
from vlmbench.errors import VlmbenchError
from vlmbench.task.loading import conventions_of

Write = Callable[[str | bytes], Path]
OPTIONS = ["a clay jug", "a tin kettle", "a glass vase"]


def lines_of(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def opened(write: Write, task: str, content: str | bytes) -> tuple[Predictions, Any]:
    """The file and its only line."""
    file = read(write(content), conventions_of(task))
    [line] = file.lines
    return file, line


def llava(id: object, **more: Any) -> dict[str, Any]:
    prompt = "What is it?\nAnswer the question using a single word or phrase."
    return {
        "question_id": id,
        "prompt": prompt,
        "text": "a cat",
        "answer_id": "X7",
        "model_id": "llava-v1.5-7b",
        "metadata": {},
        **more,
    }


@pytest.mark.parametrize(
    ("task", "id"),
    [("vqav2", 1010), ("textvqa", "003a8ae2ef43b901"), ("docvqa", 7), ("mmbench", 241)],
)
def test_llavas_answers(write: Write, task: str, id: object) -> None:
    file, line = opened(write, task, lines_of(llava(id)))
    assert file.format == "LLaVA answers"
    assert file.ids_name_pictures == (task == "textvqa")
    assert (line.prediction.id, line.prediction.response) == (id, "a cat")
    assert line.prompt.startswith("What is it?") and line.row is None


def test_llavas_own_questions_are_no_answers(write: Write) -> None:
    question = {"question_id": 1, "image": "1.jpg", "text": "What is it?", "category": "default"}
    with pytest.raises(VlmbenchError, match=r"no 'response'; there are: 'question_id', 'image'"):
        read(write(lines_of(question, question)), conventions_of("vqav2"))


def test_options_that_llava_rotated_are_refused(write: Write) -> None:
    lines = lines_of(llava(241, round_id=0), llava(241, round_id=1))
    with pytest.raises(VlmbenchError, match="keep the lines with round_id 0"):
        list(read(write(lines), conventions_of("mmbench")).lines)


def test_internvls_and_qwen_vls_lists(write: Write) -> None:
    entry = {"questionId": 49153, "answer": "0.28", "annotation": ["0.28", "0.280"]}
    file, line = opened(write, "docvqa", json.dumps([{"question": "What?", **entry}]))
    assert file.has_gold_only and line.prediction.response == "0.28"
    assert line.row == {"questionId": 49153, "question": "What?", "answers": ["0.28", "0.280"]}
    plain = [{"question": "What? Answer", "question_id": 34602, "answer": "nous"}]
    file, line = opened(write, "textvqa", json.dumps(plain))
    assert (file.format, file.has_gold_only) == ("textvqa-evalai submission", False)
    assert (line.prediction.id, line.prediction.response, line.row) == (34602, "nous", None)


def test_fewer_gold_answers_than_the_benchmark_has_are_none(write: Write) -> None:
    entry = {"question_id": 1, "answer": "cat", "gt_answers": ["cat"] * 10}
    _, line = opened(write, "textvqa", json.dumps([entry]))
    assert line.row["answers"] == ["cat"] * 10
    _, line = opened(write, "textvqa", json.dumps([entry | {"gt_answers": ["cat"]}]))
    assert line.row is None


@pytest.mark.parametrize(
    ("gold", "question", "kind", "options"),
    [
        ("B", "Which? <image 1>\nA. jug\nB. kettle\nAnswer with the option's letter.", "m", 2),
        ("7", "How many? <image 1>\nAnswer the question using a single word.", "o", 0),
        ("['7', 'seven']", "How many? <image 1>", "o", 0),
    ],
)
def test_internvls_mmmu_lines(
    write: Write, gold: str, question: str, kind: str, options: int
) -> None:
    entry = {"question": question, "answer": "B", "gt_answers": gold, "data_id": "validation_Art_1"}
    file, line = opened(write, "mmmu", lines_of(entry))
    assert file.has_gold_only and line.prediction.id == "validation_Art_1"
    assert line.row["question_type"][0] == kind and len(line.row["options"]) == options
    assert line.row["answer"] == (["7", "seven"] if gold.startswith("[") else gold)


def test_qwen_vls_result_lines(write: Write) -> None:
    annotation = {"index": 31, "id": "dev_Art_1", "question": "Which?", "answer": "B"}
    annotation |= dict(zip("ABC", OPTIONS, strict=True)) | {"split": "dev"}
    record = {"question_id": 31, "annotation": annotation, "task": "MMMU_DEV_VAL"}
    record |= {"result": {"gen": "(B)", "gen_raw": "<think>"}, "messages": []}
    file, line = opened(write, "mmmu", lines_of(record))
    assert file.format == "Qwen-VL results"
    assert (line.prediction.id, line.prediction.response) == ("dev_Art_1", "(B)")
    assert line.row["options"] == OPTIONS and line.row["split"] == "dev"


def official(id: str) -> dict[str, Any]:
    index2ans = dict(zip("ABC", OPTIONS, strict=True))
    question = {"question_type": "multiple-choice", "answer": "B", "all_choices": [*"ABC"]}
    return {"id": id, **question, "index2ans": index2ans, "response": "(B)"}


def test_the_input_of_mmmus_own_evaluation(write: Write, tmp_path: Path) -> None:
    file, line = opened(write, "mmmu", json.dumps([official("validation_Art_1")]))
    assert file.has_gold_only and line.row["options"] == OPTIONS and line.row["answer"] == "B"
    answers = tmp_path / "llava1.5_13b"
    for subject in ("Art", "Music"):
        (answers / subject).mkdir(parents=True)
        entries = [official(f"validation_{subject}_{number}") for number in (1, 2)]
        (answers / subject / "output.json").write_text(json.dumps(entries))
        (answers / subject / "parsed_output.json").write_text("[]")
        (answers / subject / "result.json").write_text('{"acc": 1}')
    (answers / "total_val_output.json").write_text("{}")
    found = read(answers, conventions_of("mmmu"))
    assert found.format == "vlmbench json, 2 files" and len(list(found.lines)) == 4


def test_an_answer_beside_a_response_is_gold_only_where_the_question_is_there(write: Write) -> None:
    """Else it may be what somebody read from the response."""
    extracted = {"id": "validation_Art_1", "response": "I think B", "answer": "B"}
    file, line = opened(write, "mmmu", lines_of(extracted))
    assert line.row is None and not file.has_gold_only


@pytest.mark.parametrize("task", ["mmmu", "mathvista", "textvqa"])
@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_one_line_is_an_answer_too(write: Write, task: str, ending: str) -> None:
    for record in ({"id": "5", "response": "yes"}, {"question_id": "5", "answer": "yes"}):
        _, line = opened(write, task, json.dumps(record) + ending)
        assert (line.prediction.id, line.prediction.response) == ("5", "yes")
        _, line = opened(write, task, json.dumps(record, indent=1))
        assert line.prediction.response == "yes"


def test_answers_by_their_ids(write: Write) -> None:
    for content in ('{"12": "yes"}', '{\n "12": "yes"\n}'):
        file, line = opened(write, "docvqa", content)
        assert file.format == "answers by id"
        assert (line.prediction.id, line.prediction.response) == ("12", "yes")


def test_a_batch_of_chat_completions(write: Write) -> None:
    def answered(id: str, *choices: Any) -> dict[str, Any]:
        body = {"object": "chat.completion", "choices": choices}
        response = {"status_code": 200, "request_id": "r", "body": body}
        return {"id": "batch_req_1", "custom_id": id, "response": response, "error": None}

    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}}
    file = read(write(lines_of(answered("1", choice), answered("2"))), conventions_of("docvqa"))
    assert file.format == "chat completion batch"
    assert [(line.key, line.prediction.response) for line in file.lines] == [
        ("1", "yes"),
        ("2", None),
    ]


def test_a_refusal_shows_the_files_keys_and_what_would_be_taken(write: Write) -> None:
    path = write(lines_of({"img": "1.jpg", "caption": "a cat"}))
    with pytest.raises(VlmbenchError) as caught:
        read(path, conventions_of("docvqa"))
    assert "(keys: 'img', 'caption'); expected JSON lines or a JSON list of" in str(caught.value)


def test_files_of_several_formats_in_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines_of({"id": 1, "response": "yes"}))
    (tmp_path / "b.jsonl").write_text(lines_of(llava(1)))
    with pytest.raises(VlmbenchError, match="several formats"):
        read(tmp_path, conventions_of("vqav2"))
    assert len(list(read(tmp_path / "a*.jsonl", conventions_of("vqav2")).lines)) == 1
