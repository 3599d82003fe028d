"""A run whose samples all fail alike is stopped, and every run says what its samples failed for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlmbench import files
from vlmbench.errors import VlmbenchError
from vlmbench.runs.failures import NUM_ALIKE, account, commonest, stopping
from vlmbench.schema import Response


def failure(number: int, error: str = "ServerError: HTTP 404: no model m") -> Response:
    return Response(id=f"t/{number}", text=None, finish_reason="error", error=error)


def answer(number: int) -> Response:
    return Response(id=f"t/{number}", text="yes", finish_reason="stop")


def logged(folder: Path, *records: dict[str, Any]) -> None:
    lines = [{"task": "t", "id": str(n), **record} for n, record in enumerate(records)]
    (folder / "responses-0.jsonl").write_bytes(b"".join(map(files.encode, lines)))


def test_samples_that_all_fail_alike_from_the_first_on_stop_the_run(tmp_path: Path) -> None:
    closed = []

    def source() -> Iterator[Response]:
        try:
            yield from map(failure, range(1000))
        finally:
            closed.append(True)

    seen = []
    with pytest.raises(VlmbenchError, match=f"first {NUM_ALIKE} .* alike: ServerError: HTTP 404"):
        for response in stopping(source(), tmp_path):
            seen.append(response)
    assert (len(seen), closed) == (NUM_ALIKE, [True])


def test_errors_that_differ_in_numbers_only_are_alike(tmp_path: Path) -> None:
    source = (failure(n, f"you asked for {3000 + n} tokens (req_a{n})") for n in range(99))
    with pytest.raises(VlmbenchError, match="you asked for 3000 tokens"):
        list(stopping(source, tmp_path))


@pytest.mark.parametrize("first", [answer(0), failure(0, "ValueError: no picture")])
def test_one_that_fares_otherwise_keeps_the_run_going(tmp_path: Path, first: Response) -> None:
    for place in (0, NUM_ALIKE - 1):
        responses = [failure(n) for n in range(1, 40)]
        responses.insert(place, first)
        assert list(stopping(responses, tmp_path)) == responses


def test_fewer_samples_than_that_are_all_asked(tmp_path: Path) -> None:
    responses = [failure(n) for n in range(NUM_ALIKE - 1)]
    assert list(stopping(responses, tmp_path)) == responses


def test_a_run_that_has_answers_tries_all_its_failures_again(tmp_path: Path) -> None:
    logged(tmp_path, {"response": "yes"})
    responses = [failure(n) for n in range(40)]
    assert list(stopping(responses, tmp_path)) == responses


def test_the_commonest_errors_come_first_with_their_counts() -> None:
    errors = ["HTTP 500: a", "HTTP 400: b 1", "HTTP 400: b 2", "no picture"]
    assert commonest(errors, 2) == [("HTTP 400: b 1", 2), ("HTTP 500: a", 1)]


def test_a_run_accounts_for_failed_empty_and_cut_off_samples(tmp_path: Path) -> None:
    failed = {"response": None, "error": "HTTP 400: no", "finish_reason": "error"}
    empty = {"response": " ", "finish_reason": "length"}
    logged(tmp_path, failed, failed, empty, {"response": "yes", "finish_reason": "stop"})
    with (tmp_path / "responses-0.jsonl").open("ab") as log:  # asked again, and answered
        log.write(files.encode({"task": "t", "id": "0", "response": "no"}))
    assert account(tmp_path) == [
        "1 failed: HTTP 400: no",
        "1 of 3 answers are empty",
        "1 of 3 answers are cut off at the limit of new tokens",
    ]
