"""All six tasks from start to end with every backend, on copies with the hub's schema."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from vlmbench.backends.registry import takes_time
from vlmbench.cli.main import main
from vlmbench.runs.folder.finished import open_run

TASKS = "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench"
NUM_SAMPLES = 73


class Server(BaseHTTPRequestHandler):
    """Answers by what it is sent, pictures included, as any OpenAI-compatible server would."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"data": [{"id": "any", "object": "model"}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        messages = json.loads(body)["messages"]
        number = zlib.crc32(json.dumps(messages).encode()) % 4
        usage = {"prompt_tokens": len(body) // 4, "completion_tokens": 1}
        message = {"role": "assistant", "content": f"The answer is {'ABCD'[number]}"}
        self._send({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    def _send(self, document: dict[str, Any]) -> None:
        reply = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as found:
        Thread(target=found.serve_forever, daemon=True).start()
        yield f"openai:http://127.0.0.1:{found.server_port}#any"
        found.shutdown()


@pytest.fixture(scope="module")
def answers(
    tmp_path_factory: pytest.TempPathFactory, hub_copies: Path
) -> Callable[..., dict[tuple[str, str], Any]]:
    """A function: a model and flags -> its answers to every sample of every task, after a run."""
    root = tmp_path_factory.mktemp("runs")

    def run(out: str, model: str, *flags: str) -> dict[tuple[str, str], Any]:
        folder = root / out
        command = ["run", "--model", model, "--tasks", TASKS, "--out", str(folder)]
        command += ["--latency", "2"] if takes_time(model) else []
        assert main([*command, "--data-dir", str(hub_copies), *flags]) == 0
        records = [
            json.loads(line)
            for path in folder.glob("responses-*.jsonl")
            for line in path.read_bytes().splitlines()
        ]
        assert len(records) == NUM_SAMPLES
        assert len(list(folder.glob("scores-*.jsonl"))) == 6
        check_costs(folder, model)
        return {(record["task"], record["id"]): record for record in records}

    return run


def check_costs(folder: Path, model: str) -> None:
    """Every task has its latency; its throughput where the backend divides the device's time."""
    run = open_run(folder)
    assert run.costs.offline is not None and run.costs.offline.samples_per_s is not None
    for task in run.tasks:
        alone, offline = task.costs.single_stream, task.costs.offline
        assert offline is not None
        assert (offline.samples_per_s is None) == model.startswith(("openai:", "replay:", "const"))
        if not takes_time(model):
            assert alone is None
            continue
        assert alone is not None and alone.n == 2 and alone.latency_s is not None
        assert (alone.place.network == "loopback") == model.startswith("openai:")


def texts(records: dict[tuple[str, str], Any]) -> dict[tuple[str, str], str]:
    return {key: record["response"] for key, record in records.items()}


def test_one_checkpoint_answers_alike_through_our_model_and_transformers(
    answers: Callable[..., Any], tiny: Path
) -> None:
    flags = ("--max-new-tokens", "4", "--device", "cpu")
    ours = answers("idefics2", f"idefics2:{tiny}", "--workers", "2", *flags)
    theirs = answers("transformers", f"transformers:{tiny}", "--batch-size", "3", *flags)
    assert texts(ours) == texts(theirs)
    assert len(set(texts(ours).values())) > 10
    for key, record in ours.items():
        assert record["prompt_tokens"] == theirs[key]["prompt_tokens"]
        assert record["visual_tokens"] == 3 * len(record["images"])
        assert {"prefill_s", "decode_s", "total_s"} <= record["timings"].keys()


def test_batches_and_workers_leave_the_answers_of_a_model_alone(
    answers: Callable[..., Any], tiny: Path
) -> None:
    flags = ("--max-new-tokens", "4", "--device", "cpu")
    one = texts(answers("one", f"idefics2:{tiny}", "--batch-size", "1", *flags))
    many = answers("many", f"idefics2:{tiny}", "--batch-size", "16", "--workers", "3", *flags)
    assert texts(many) == one


def test_a_server_answers_every_task(answers: Callable[..., Any], server: str) -> None:
    records = answers("server", server, "--concurrency", "4")
    assert {text[:-1] for text in texts(records).values()} == {"The answer is "}
    assert all(record["prompt_tokens"] > 0 for record in records.values())
    again = answers("again", server, "--concurrency", "1", "--workers", "2")
    assert texts(again) == texts(records)


def test_a_run_can_be_replayed(
    answers: Callable[..., Any], server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = answers("first", server)
    folder = next(tmp_path_factory.getbasetemp().glob("runs*/first"))
    replayed = answers("replayed", f"replay:{folder}", "--prompt-style", "lmms")
    assert texts(replayed) == texts(first)
    for path in folder.glob("scores-*.jsonl"):
        assert path.read_bytes() == (folder.parent / "replayed" / path.name).read_bytes()


def test_a_constant_answers_every_task(answers: Callable[..., Any]) -> None:
    assert set(texts(answers("constant", "constant:yes")).values()) == {"yes"}
