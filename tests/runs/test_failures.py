"""A run whose samples all fail alike is stopped, and every run says what its samples failed for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vlmbench import files
from vlmbench.runs.failures import NUM_ALIKE, StopRule, account, commonest
from vlmbench.runs.folder.responses import decoded, encoded
from vlmbench.runs.plan import Item
from vlmbench.runs.runner import Asked, Runner
from vlmbench.schema import Message, Probe, Request, Response

NOT_FOUND = "ServerError: HTTP 404: no model m"


def logged(folder: Path, *records: dict[str, Any]) -> None:
    lines = [{"task": "t", "id": str(n), **record} for n, record in enumerate(records)]
    (folder / "responses-0.jsonl").write_bytes(b"".join(map(files.encode, lines)))


def problems(rule: StopRule, responses: Iterable[tuple[str | None, str]]) -> list[str]:
    return [rule.problem(text, error) for text, error in responses]


def test_samples_that_all_fail_alike_from_the_first_on_are_a_problem(tmp_path: Path) -> None:
    *before, last = problems(StopRule(tmp_path, None), [(None, NOT_FOUND)] * NUM_ALIKE)
    assert not any(before)
    assert f"the first {NUM_ALIKE} samples all failed alike: {NOT_FOUND}; mend that" in last


def test_errors_that_differ_in_numbers_only_are_alike(tmp_path: Path) -> None:
    errors = [(None, f"you asked for {3000 + n} tokens (req_a{n})") for n in range(NUM_ALIKE)]
    assert "you asked for 3000 tokens" in problems(StopRule(tmp_path, None), errors)[-1]


@pytest.mark.parametrize("other", [("yes", ""), (None, "ValueError: no picture")])
@pytest.mark.parametrize("place", [0, NUM_ALIKE - 1])
def test_one_that_fares_otherwise_keeps_the_run_going(
    tmp_path: Path, other: tuple[str | None, str], place: int
) -> None:
    responses: list[tuple[str | None, str]] = [(None, NOT_FOUND)] * 40
    responses.insert(place, other)
    assert not any(problems(StopRule(tmp_path, None), responses))


def test_with_a_limit_of_failures_nothing_else_stops_the_run(tmp_path: Path) -> None:
    found = problems(StopRule(tmp_path, 20), [(None, NOT_FOUND)] * 21)
    assert not any(found[:-1])
    assert found[-1] == "stopped: more than 20 samples failed"


def test_a_run_that_has_answers_tries_all_its_failures_again(tmp_path: Path) -> None:
    logged(tmp_path, {"response": "yes"})
    assert not any(problems(StopRule(tmp_path, None), [(None, NOT_FOUND)] * 40))


class Refusing:
    """A backend that answers nothing."""

    num_asked = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        for request in requests:
            self.num_asked += 1
            yield Response(id=request.id, text=None, finish_reason="error", error=NOT_FOUND)

    def probe(self) -> Probe:
        return Probe(model="refusing")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_run_in_this_process_stops_too(tmp_path: Path, is_readable: bool) -> None:
    def asked(number: int) -> Asked:
        item = Item(task="t", index=number, id=str(number), image_group="", cost=1.0)
        messages = (Message(role="user", content=("?",)),)
        request = Request(id=f"t/{number}", messages=messages, max_new_tokens=1, image_group="")
        return Asked(item=item, request=request) if is_readable else Asked(item=item, error="No")

    lines: list[bytes] = []
    backend = Refusing()
    runner = Runner(backend, "0", lines.append)
    problem = runner.run(map(asked, range(1000)), StopRule(tmp_path, None))
    assert f"the first {NUM_ALIKE} samples all failed alike" in problem
    assert len(lines) == NUM_ALIKE
    assert backend.num_asked == (NUM_ALIKE if is_readable else 0)


def test_the_commonest_errors_come_first_with_their_counts() -> None:
    errors = ["HTTP 500: a", "HTTP 400: b 1", "HTTP 400: b 2", "no picture"]
    assert commonest(errors, 2) == [("HTTP 400: b 1", 2), ("HTTP 500: a", 1)]


def test_a_run_accounts_for_failed_empty_and_cut_off_samples(tmp_path: Path) -> None:
    failed = {"response": None, "error": "HTTP 400: no", "finish_reason": "error"}
    empty = {"response": " ", "finish_reason": "length"}
    other_task = {**failed, "task": "u"}
    answered = {"response": "yes", "finish_reason": "stop"}
    logged(tmp_path, failed, failed, empty, answered, other_task)
    with (tmp_path / "responses-0.jsonl").open("ab") as log:  # asked again, and answered
        log.write(files.encode({"task": "t", "id": "0", "response": "no"}))
    assert account(tmp_path, ["t"]) == [
        "1 failed: HTTP 400: no",
        "1 of 3 answers are empty",
        "1 of 3 answers are cut off at the limit of new tokens",
    ]


def test_a_line_has_reasoning_only_where_there_is_some() -> None:
    plain = Response(id="a", text="yes", finish_reason="stop")
    thought = Response(
        id="a", text="yes", finish_reason="stop", reasoning="so", reasoning_tokens=1, token_limit=8
    )
    first, second = (encoded("t", "a", one, worker="0", time=1.0) for one in (plain, thought))
    assert b"reasoning" not in first and b"token_limit" not in first
    added = b',"reasoning":"so","reasoning_tokens":1,"token_limit":8}\n'
    assert second == first.replace(b"}\n", added)
    record = decoded(second)
    assert record is not None
    assert (record.reasoning, record.reasoning_tokens, record.token_limit) == ("so", 1, 8)


def test_a_worker_hands_its_notices_on_as_frames() -> None:
    code = (
        "from vlmbench.backends import notices\n"
        "from vlmbench.runs.executors.worker import Frames\n"
        "notices.hand_to(Frames().noticed)\n"
        "found = notices.Notices()\n"
        "for _ in range(2): found.tell('prompts are\\nbare')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"Nprompts are bare\n", b"")


def test_a_session_has_notices_only_where_there_are_some(tmp_path: Path) -> None:
    from vlmbench.runs.recorder import Recorder

    class Noticing(Refusing):
        def probe(self) -> Probe:
            return Probe(model="refusing", notices=("bare",))

    for backend, expected in ((Refusing(), None), (Noticing(), ["bare"])):
        lines: list[bytes] = []
        with Recorder(backend, "0", lines.append):
            pass
        assert "notices" not in json.loads(lines[0])
        assert json.loads(lines[1]).get("notices") == expected
