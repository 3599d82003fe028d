"""`vlmbench score --judge`: any backend extracts answers, and what it replied is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from vlmbench.backends import registry
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.judge_log import JudgeLog, log_file
from vlmbench.runs.folder.layout import NAMES
from vlmbench.schema import Prediction, Request, Response
from vlmbench.task.judging import Judging
from vlmbench.task.loading import find

EXAMPLES = Path(__file__).parents[3] / "results" / "examples" / "mathvista.jsonl"
LINES = [json.loads(line) for line in EXAMPLES.read_text("utf-8").splitlines()]
LOG = "judge-scores.jsonl"
"""Beside the scores.jsonl of the fixture `score`."""


class Fake:
    """A judge that says 7 to everything, in batches answered backwards, and keeps what it saw."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.settings: list[Mapping[str, Any]] = []
        self.fails: Callable[[Request], bool] = lambda request: False
        self.dies_after: int | None = None
        self.num_opened = self.num_closed = 0

    def open(self, spec: str, **settings: Any) -> Fake:
        self.num_opened += 1
        self.settings.append(settings)
        return self

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        waiting = iter(requests)
        while batch := list(islice(waiting, 3)):
            for request in reversed(batch):
                if len(self.asked) == self.dies_after:
                    raise VlmbenchError("the judge is gone")
                self.asked.append(request)
                if self.fails(request):
                    yield Response(id=request.id, text=None, finish_reason="error", error="no")
                else:
                    yield Response(id=request.id, text="7", finish_reason="stop")

    def close(self) -> None:
        self.num_closed += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The backend that is opened, whatever model is named."""
    fake = Fake()
    monkeypatch.setattr(registry, "open_backend", fake.open)
    return fake


JUDGE = ("--judge", "constant:fake", "--json")


def test_any_backend_can_judge(score: Any) -> None:
    outcome = score("mathvista", LINES, "--judge", "constant:Answer: 7", "--json")
    assert outcome.code == 0
    assert outcome.scores[0]["value"] == 1
    integers = [LINES.index(line) for line in LINES if line["sample"]["answer_type"] == "integer"]
    assert {outcome.scores[index]["parsed"] for index in integers} == {"7"}


def test_replies_that_a_file_has_can_be_replayed(score: Any, tmp_path: Path) -> None:
    replies = tmp_path / "replies.jsonl"
    texts = [json.dumps({"id": line["id"], "response": line["sample"]["answer"]}) for line in LINES]
    replies.write_text("\n".join(texts), "utf-8")
    outcome = score("mathvista", LINES, "--judge", f"replay:{replies}", "--json")
    assert outcome.json["score"] == 100
    log = [json.loads(line) for line in (tmp_path / LOG).read_bytes().splitlines()]
    assert {record["id"]: record["response"] for record in log} == {
        line["id"]: line["sample"]["answer"] for line in LINES
    }


def test_scores_stand_in_the_order_of_the_file(score: Any, fake: Fake) -> None:
    outcome = score("mathvista", LINES, *JUDGE)
    assert len(fake.asked) == len(LINES)
    assert [record["id"] for record in outcome.scores] == [line["id"] for line in LINES]
    assert fake.num_opened == fake.num_closed == 1


def test_an_extraction_or_a_failure_is_not_asked_about(score: Any, fake: Fake) -> None:
    lines = [
        LINES[0] | {"response": None, "error": "out of memory"},
        LINES[1] | {"extraction": "C"},
        LINES[3] | {"response": "12"},
        LINES[4],
    ]
    outcome = score("mathvista", lines, *JUDGE)
    assert [request.id for request in fake.asked] == [f"mathvista/{LINES[4]['id']}"]
    failed, extracted, plain, _ = outcome.scores
    assert failed["error"] == "out of memory"
    assert (extracted["value"], plain["parsed"]) == (1, "12")


def test_nothing_is_asked_twice(score: Any, fake: Fake, tmp_path: Path) -> None:
    first = score("mathvista", LINES[:8], *JUDGE)
    assert len(fake.asked) == 8
    more = score("mathvista", LINES, *JUDGE)
    assert len(fake.asked) == len(LINES)
    assert more.scores[:8] == first.scores
    log = (tmp_path / LOG).read_bytes()
    again = score("mathvista", LINES, *JUDGE)
    assert (again.out, again.scores) == (more.out, more.scores)
    assert fake.num_opened == 2, "a judge that has nothing to answer need not be there"
    assert (tmp_path / LOG).read_bytes() == log


def test_another_question_or_judge_is_asked_anew(score: Any, fake: Fake) -> None:
    lines = LINES[:3]
    score("mathvista", lines, *JUDGE)
    score("mathvista", [lines[0] | {"response": "It is 7, I think."}, *lines[1:]], *JUDGE)
    assert len(fake.asked) == 4
    score("mathvista", lines, "--judge", "constant:other")
    assert len(fake.asked) == 7


def test_a_failure_of_the_judge_is_no_score_and_is_asked_again(score: Any, fake: Fake) -> None:
    fake.fails = lambda request: "angle acute" in str(request.messages[-1].content)
    outcome = score("mathvista", LINES, *JUDGE)
    assert (outcome.code, outcome.json["failed"]) == (1, 1)
    refused = next(record for record in outcome.scores if record["value"] is None)
    assert (refused["id"], refused["error"]) == ("9006", "judge: no")
    fake.fails = lambda request: False
    assert score("mathvista", LINES, *JUDGE).code == 0
    assert [request.id for request in fake.asked[len(LINES) :]] == ["mathvista/9006"]


def test_a_judge_that_is_silent_fails_the_sample(
    score: Any, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "generate", lambda requests: iter(list(requests)[:0]))
    outcome = score("mathvista", LINES, *JUDGE)
    assert outcome.json["failed"] == len(outcome.scores) == len(LINES)
    assert outcome.scores[0]["error"] == "judge: RuntimeError: the backend gave no response"


def test_a_judge_that_goes_away_loses_nothing(score: Any, fake: Fake, tmp_path: Path) -> None:
    fake.dies_after = 5
    outcome = score("mathvista", LINES, *JUDGE)
    assert (outcome.code, outcome.scores) == (2, [])
    assert outcome.err == "vlmbench: the judge is gone\n"
    with (tmp_path / LOG).open("ab") as log:
        log.write(b'{"id": "9012", "response": "tor')
    fake.dies_after = None
    assert score("mathvista", LINES, *JUDGE).code == 0
    assert len(fake.asked) == len(LINES)
    assert all(json.loads(line) for line in (tmp_path / LOG).read_bytes().splitlines())


def test_a_mistake_in_the_predictions_is_told_after_what_was_asked_is_kept(
    score: Any, fake: Fake, tmp_path: Path
) -> None:
    outcome = score("mathvista", [*LINES[:4], {"id": "no sample", "response": "x"}], *JUDGE)
    assert outcome.code == 2 and "no sample here" in outcome.err
    assert len(fake.asked) == len((tmp_path / LOG).read_bytes().splitlines()) == 4


def test_settings_go_to_the_backend(
    score: Any, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    given = ("--judge-arg", "concurrency=2", "--judge-arg", "timeout-s=1.5")
    judge = ("--judge", "http://localhost:1/v1#m", "--judge-key-env", "A_KEY")
    assert score("mathvista", LINES[:1], *judge, *given).code == 0
    assert fake.settings == [{"concurrency": 2, "timeout_s": 1.5, "api_key_env": "A_KEY"}]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"text": " \n", "finish_reason": "stop"}, "judge: the answer is empty"),
        ({"text": "<think>well", "finish_reason": "stop"}, "judge: the answer is empty"),
        (
            {"text": "B", "finish_reason": "length"},
            "judge: the answer was cut off after 256 tokens",
        ),
        (
            {"text": None, "finish_reason": "error", "error": "ServerError: HTTP 500"},
            "judge: ServerError: HTTP 500",
        ),
    ],
    ids=["blank", "only reasoning", "cut off", "an error"],
)
def test_a_reply_without_an_answer_fails_the_sample(reply: dict[str, Any], error: str) -> None:
    prediction = Prediction(id="1", response="It is the second one.")
    found = Judging(find("mathvista")).with_reply(prediction, Response(id="1", **reply))
    assert (found.response, found.is_final, found.error) == (None, False, error)


def test_a_log_beside_the_scores_is_no_file_of_a_run(tmp_path: Path) -> None:
    log = log_file(tmp_path / "scores.jsonl")
    assert log == tmp_path / LOG
    assert not any(log.match(pattern) for pattern in NAMES)
    assert log_file(Path("/dev/null")) is None


def test_two_processes_do_not_write_one_log(tmp_path: Path) -> None:
    log = JudgeLog(tmp_path / LOG)
    with pytest.raises(VlmbenchError, match=r"another process is writing to .*judge-scores\.jsonl"):
        JudgeLog(tmp_path / LOG)
    log.close()
    JudgeLog(tmp_path / LOG).close()


@pytest.mark.parametrize(
    ("task", "flags", "message"),
    [
        ("mathvista", ["--judge", "http://localhost:1/v1"], "no model is named"),
        ("mathvista", ["--judge", "localhost#m"], "no backend named 'localhost#m'"),
        ("mathvista", ["--judge", "openai:localhost#m"], "no http:// or https:// URL"),
        ("mathvista", ["--judge-key-env", "KEY"], "api_key_env is for a judge; name one"),
        ("mathvista", ["--judge", "constant:7", "--judge-arg", "seven"], "write NAME=VALUE"),
        ("mathvista", ["--judge", "constant:7", "--judge-arg", "dtype=auto"], "no use for"),
        ("mathvista", ["--judge", "openai:http://a#m", "--judge-arg", "seeds=1"], "mean seed?"),
        ("vqav2", ["--judge", "http://localhost:1/v1#m"], "vqav2 is scored by rules alone"),
    ],
)
def test_a_judge_that_cannot_be_is_one_line(
    score: Any, task: str, flags: list[str], message: str
) -> None:
    examples = EXAMPLES.with_name(f"{task}.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in examples.splitlines()]
    outcome = score(task, lines, *flags)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


class JudgeServer(BaseHTTPRequestHandler):
    """Says 7 to everything, but refuses questions about angles; lists no models."""

    def do_GET(self) -> None:
        self.send(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body | {"key": self.headers["Authorization"]})  # type: ignore[attr-defined]
        refused = "angle acute" in body["messages"][-1]["content"]
        choice = {"message": {"content": "7"}, "finish_reason": "stop"}
        self.send(400 if refused else 200, {"choices": [choice]})

    def send(self, status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), JudgeServer) as found:
        found.bodies = []  # type: ignore[attr-defined]
        Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


def test_a_url_alone_is_a_server_that_judges(
    score: Any, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-not-to-be-shown")
    judge = f"http://127.0.0.1:{server.server_port}/v1#judge"
    outcome = score("mathvista", LINES, "--judge", judge, "--judge-key-env", "JUDGE_KEY", "--json")
    assert (outcome.code, outcome.json["failed"]) == (1, 1)
    by_id = {record["id"]: record for record in outcome.scores}
    assert by_id["9001"]["parsed"] == "7" and by_id["9007"]["value"] == 0
    assert by_id["9006"]["value"] is None
    assert by_id["9006"]["error"].startswith("judge: ServerError: HTTP 400")
    sent = server.bodies[0]
    assert (sent["model"], sent["temperature"]) == ("judge", 0)
    assert [message["role"] for message in sent["messages"][:3]] == ["system", "user", "assistant"]
    assert sent["key"] == "Bearer sk-not-to-be-shown"
    kept = (tmp_path / LOG).read_text() + outcome.out + outcome.err
    assert "sk-not-to-be-shown" not in kept
