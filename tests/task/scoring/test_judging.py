"""`vlmbench score --judge` against a real local server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "results" / "examples" / "mathvista.jsonl"


class JudgeServer(BaseHTTPRequestHandler):
    """Says 7 to everything, but refuses questions about angles."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        refused = "angle acute" in json.loads(body)["messages"][-1]["content"]
        reply = json.dumps({"choices": [{"message": {"content": "7"}, "finish_reason": "stop"}]})
        self.send_response(400 if refused else 200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), JudgeServer) as found:
        Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/v1"
        found.shutdown()


def test_the_judge_extracts_and_its_failures_are_no_scores(score: Any, server: str) -> None:
    lines = [json.loads(line) for line in EXAMPLES.read_text("utf-8").splitlines()]
    outcome = score("mathvista", lines, "--judge", f"{server}#judge", "--json")
    assert outcome.code == 1
    assert outcome.json["failed"] == 1
    by_question = {
        line["sample"]["question"]: found for line, found in zip(lines, outcome.scores, strict=True)
    }
    assert by_question["How many squares are there?"]["parsed"] == "7"
    assert by_question["What is the length of AB?"]["value"] == 0
    refused = by_question["Is the angle acute?"]
    assert refused["value"] is None
    assert refused["error"].startswith("judge: ")


@pytest.mark.parametrize(
    ("task", "judge", "message"),
    [
        ("mathvista", "http://localhost:1/v1", "write URL#MODEL"),
        ("mathvista", "localhost#m", "http(s)://"),
        ("mmmu", "http://localhost:1/v1#m", "mmmu is scored by rules alone"),
    ],
)
def test_a_judge_that_cannot_be_is_one_line(
    score: Any, task: str, judge: str, message: str
) -> None:
    examples = EXAMPLES.with_name(f"{task}.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in examples.splitlines()]
    outcome = score(task, lines, "--judge", judge)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
