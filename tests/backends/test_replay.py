"""Answers from files: ours, other tools', and an earlier run's."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vlmbench import files
from vlmbench.backends.registry import check, identity, open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.responses import Log
from vlmbench.schema import Message, Request, Response, Timings


def request(id: str) -> Request:
    message = Message(role="user", content=("What?",))
    return Request(id=id, image_group="g", messages=(message,), max_new_tokens=7)


def replay(path: Path, *ids: str) -> list[Response]:
    return list(open_backend(f"replay:{path}").generate(request(id) for id in ids))


def lines(path: Path, *records: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def logged(task: str, id: str, response: str | None, **fields: Any) -> dict[str, Any]:
    record = {"task": task, "id": id, "response": response, "finish_reason": "stop", "error": ""}
    return {**record, "timings": {}, **fields}


def run(folder: Path, **workers: list[dict[str, Any]]) -> Path:
    for worker, records in workers.items():
        log = Log(folder, worker)
        for record in records:
            log.write(files.encode(record))
        log.close()
    return folder


def test_a_files_answers_go_to_the_samples_in_the_order_asked_for(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "answers.jsonl",
        {"id": "a/b", "response": " A "},
        {"id": 7, "response": ""},
        {"id": 8.0, "response": "C"},
    )
    answers = replay(path, "docvqa@test/8", "docvqa@test/a/b", "docvqa@test/7")
    assert [(r.id, r.text) for r in answers] == [
        ("docvqa@test/8", "C"),
        ("docvqa@test/a/b", " A "),
        ("docvqa@test/7", ""),
    ]
    assert {r.finish_reason for r in answers} == {"stop"}


def test_a_benchmarks_own_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_text('[{"question_id": 5, "answer": "net"}]', encoding="utf-8")
    assert [r.text for r in replay(path, "vqav2@test-dev/5")] == ["net"]
    path.write_text('{"validation_Art_1": "B"}', encoding="utf-8")
    assert [r.text for r in replay(path, "mmmu@validation/validation_Art_1")] == ["B"]


def test_what_has_no_response_is_an_error(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "answers.jsonl",
        {"id": "1", "response": "yes"},
        {"id": "2", "response": None, "error": "ValueError: black"},
        {"id": "3", "response": None},
        {"id": "4", "response": None, "extraction": "B"},
    )
    answers = replay(path, *(f"mathvista@testmini/{id}" for id in "12345"))
    assert [(r.text, r.error) for r in answers] == [
        ("yes", ""),
        (None, "ValueError: black"),
        (None, "LookupError: the file has no response"),
        (None, "LookupError: the file has an extraction without its response"),
        (None, f"LookupError: {path} has no answer to '5'"),
    ]


def test_a_file_answers_one_split_only(tmp_path: Path) -> None:
    path = lines(tmp_path / "answers.jsonl", {"id": "1", "response": "yes"})
    backend = open_backend(f"replay:{path}")
    answers = backend.generate([request("vqav2@mini/1"), request("textvqa@mini/1")])
    assert next(answers).text == "yes"
    with pytest.raises(VlmbenchError, match="no answers to textvqa@mini; it has: vqav2@mini"):
        next(answers)


def test_a_sample_with_two_answers_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"id": 1, "response": "a"}, {"id": "1", "response": "b"})
    with pytest.raises(VlmbenchError, match=r"a\.jsonl:2: a second answer to '1'"):
        replay(path, "vqav2@mini/1")


def test_row_numbers_are_not_taken_for_ids(tmp_path: Path) -> None:
    sample = {"doc_id": 0, "target": "x", "filtered_resps": ["y"], "resps": [["y"]]}
    path = lines(tmp_path / "samples.jsonl", sample)
    with pytest.raises(VlmbenchError, match="row numbers"):
        replay(path, "docvqa@validation/0")


def test_pictures_ids_are_not_taken_for_samples(tmp_path: Path) -> None:
    answer = {"question_id": "a1", "prompt": "What?", "text": "yes", "model_id": "m"}
    with pytest.raises(VlmbenchError, match="the pictures' ids and not the samples' ids"):
        replay(lines(tmp_path / "textvqa.jsonl", answer), "textvqa@validation/1")


def test_a_run_answers_as_it_did_with_counts_and_times(tmp_path: Path) -> None:
    counts: dict[str, Any] = {"visual_tokens": 64, "prompt_tokens": 80, "generated_tokens": 2}
    counts |= {"reasoning": "Let me see.", "reasoning_tokens": 0, "token_limit": 90}
    fields = {**counts, "finish_reason": "length", "timings": {"total_s": 0.5, "later_s": 1}}
    run(
        tmp_path,
        w0=[logged("docvqa@mini", "1", "one", **fields), logged("mmmu@mini", "1", "two")],
        w1=[logged("docvqa@mini", "2", None, error="MemoryError: full", finish_reason="error")],
    )
    answers = replay(tmp_path, "docvqa@mini/2", "mmmu@mini/1", "docvqa@mini/1", "docvqa@mini/3")
    assert [r.text for r in answers] == [None, "two", "one", None]
    assert answers[0].error == "MemoryError: full"
    assert answers[3].error == f"LookupError: {tmp_path} has no answer to '3'"
    assert answers[2] == Response(
        id="docvqa@mini/1",
        text="one",
        finish_reason="length",
        timings=Timings(total_s=0.5),
        **counts,
    )


def test_of_a_resumed_run_the_answer_counts_and_not_the_failure(tmp_path: Path) -> None:
    failed = logged("vqav2@mini", "1", None, error="x", finish_reason="error")
    run(tmp_path, a=[failed, logged("vqav2@mini", "1", "yes")], b=[failed])
    with (tmp_path / "responses-b.jsonl").open("a", encoding="utf-8") as torn:
        torn.write('{"task": "vqav2@mini", "id": "1", "resp')
    assert [r.text for r in replay(tmp_path, "vqav2@mini/1")] == ["yes"]


def test_a_split_that_a_run_does_not_have_is_refused(tmp_path: Path) -> None:
    run(tmp_path, w=[logged("vqav2@mini", "1", "yes"), logged("docvqa@test", "1", "yes")])
    with pytest.raises(VlmbenchError, match="no answers to mmmu@dev; it has: docvqa@test, vqav2"):
        replay(tmp_path, "mmmu@dev/1")


def test_requests_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = lines(tmp_path / "answers.jsonl", *({"id": n, "response": str(n)} for n in range(9)))

    def endless() -> Iterator[Request]:
        for number in itertools.count():
            assert number < 3, "read ahead"
            yield request(f"vqav2@mini/{number}")

    answers = open_backend(f"replay:{path}").generate(endless())
    assert [next(answers).text for _ in range(3)] == ["0", "1", "2"]


def test_nothing_to_read_is_found_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(VlmbenchError, match=r"no prediction file or run folder .*/none"):
        check(f"replay:{tmp_path}/none", {})
    with pytest.raises(VlmbenchError, match="is no run's folder"):
        check(f"replay:{tmp_path}", {})


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        found = open_backend(f"replay:{path}").probe().weights_digest
        assert identity(f"replay:{path}", {})["weights"] == found
        return found

    one = lines(tmp_path / "one.jsonl", {"id": 1, "response": "a"})
    same = lines(tmp_path / "same.jsonl", {"id": 1, "response": "a"})
    other = lines(tmp_path / "other.jsonl", {"id": 1, "response": "b"})
    assert digest(one) == digest(same) != digest(other)
    folder = run(tmp_path, a=[logged("t@s", "1", "a")], b=[logged("t@s", "2", "b")])
    before = digest(folder)
    run(tmp_path, b=[logged("t@s", "3", "c")])
    assert digest(folder) != before
