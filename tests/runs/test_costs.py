"""Costs of runs on a backend whose times are known, on a clock that only this backend moves."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from vlmbench import evaluate
from vlmbench.backends import registry
from vlmbench.backends.settings import Settings as Settings
from vlmbench.cli.main import main
from vlmbench.errors import VlmbenchError
from vlmbench.runs import recorder, runner, stopwatch
from vlmbench.runs.folder import single_stream
from vlmbench.runs.folder.costs import FIGURES, Costs
from vlmbench.runs.folder.finished import FinishedRun, open_run
from vlmbench.runs.folder.responses import records
from vlmbench.schema import Probe, Request, Response, Timings

ENCODE_S, PREFILL_S, TOKEN_S, ROWS = 0.030, 0.020, 0.005, 8
TOKENS = {"short": 4, "long": 40}
FLOPS = 10**9

TASK = """
from vlmbench import data, schema, task
from vlmbench.metrics import anls


def read(row):
    asked = {"question": row.text("question"), "answers": row.texts("answers")}
    return schema.Sample(
        id=row.id("id"), image_group=row.id("id"), images=row.pictures("image"), **asked
    )


def score(sample, prediction, profile):
    return anls.docvqa(prediction.response, sample.answers, profile)


test = data.Split(name="test", sources=(), columns=("id", "question", "answers"))
TASK = task.Task(name=NAME, metric="anls", splits=(test,), read=read, score=score, form="docvqa")
"""


class Clock:
    """Stands still but for `pass_s`."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds

    def now(self) -> float:
        return self.now_s


CLOCK = Clock()


class Backend:
    """Continuous batching: pictures and prompts one by one, then a token of all rows together."""

    network = ""
    changes_alone = False

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        waiting = deque(requests)
        is_alone = len(waiting) == 1
        rows: list[dict[str, Any]] = []
        while waiting or rows:
            while waiting and len(rows) < ROWS:
                started = CLOCK.now()
                CLOCK.pass_s(ENCODE_S + PREFILL_S)
                rows.append(
                    {
                        "request": waiting.popleft(),
                        "started": started,
                        "first": CLOCK.now(),
                        "device_s": ENCODE_S + PREFILL_S,
                        "left": 0,
                    }
                )
                rows[-1]["left"] = tokens_of(rows[-1]["request"])
            CLOCK.pass_s(TOKEN_S)
            for row in rows:
                row["left"] -= 1
                row["device_s"] += TOKEN_S / len(rows)
            yield from (self._answer(row, is_alone) for row in rows if not row["left"])
            rows = [row for row in rows if row["left"]]

    def _answer(self, row: dict[str, Any], is_alone: bool) -> Response:
        request, number = row["request"], tokens_of(row["request"])
        is_last = request.id.endswith("7")
        return Response(
            id=request.id,
            text="alone" if is_alone and self.changes_alone else "yes",
            finish_reason="length" if is_last else "stop",
            visual_tokens=64,
            generated_tokens=number + is_last,
            flops=FLOPS,
            device_s=row["device_s"],
            timings=Timings(
                encode_s=ENCODE_S,
                prefill_s=PREFILL_S,
                first_token_s=row["first"] - row["started"],
                decode_s=CLOCK.now() - row["first"],
            ),
        )

    def probe(self) -> Probe:
        return Probe(model="virtual", device="cuda:0", device_name="NVIDIA H200", dtype="bfloat16")

    def close(self) -> None:
        pass


def tokens_of(request: Request) -> int:
    return TOKENS[request.id.partition("@")[0]]


def open(argument: str, settings: Settings) -> Backend:  # a `BackendModule` needs that name
    return Backend()


Run = Callable[..., FinishedRun]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function: tasks, how many samples of each, a folder's name -> a run on the clock."""
    monkeypatch.setitem(registry.BUILT_IN, "virtual", "ANY")
    monkeypatch.setitem(registry.ELSEWHERE, "virtual", __name__)
    stopped = SimpleNamespace(time=CLOCK.now, perf_counter=CLOCK.now)
    for module in (recorder, runner, stopwatch):
        monkeypatch.setattr(module, "time", stopped)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    for name in TOKENS:
        (tmp_path / "tasks").mkdir(exist_ok=True)
        (tmp_path / "tasks" / f"{name}.py").write_text(TASK.replace("NAME", repr(name)))
        (tmp_path / "data" / name).mkdir(parents=True)
        rows = [
            {"id": str(n), "question": f"{n}?", "answers": ["yes"], "image": picture}
            for n in range(1000)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "data" / name / "test.jsonl").write_text(lines)

    def ran(tasks: str, limit: int, folder: str = "run", **other: Any) -> FinishedRun:
        return evaluate(
            "virtual:it",
            tasks,
            limit=limit,
            out=tmp_path / folder,
            tasks_dir=tmp_path / "tasks",
            data_dir=tmp_path / "data",
            **other,
        )

    return ran


def costs(run: FinishedRun, name: str) -> Costs:
    task = run.task(f"{name}@test")
    assert task is not None
    return task.costs


def median(found: Costs, name: str) -> float | None:
    return FIGURES[f"single_stream.{name}"].value(found)


def test_every_figure_of_a_task_is_the_right_one(run: Run) -> None:
    before = CLOCK.now()
    found = costs(run("short", 80, usd_per_hour=3.6), "short")
    alone = found.single_stream
    assert alone is not None and alone.n == 20  # a quarter
    latency_s = ENCODE_S + PREFILL_S + 4 * TOKEN_S
    asked_alone_s = (alone.n + stopwatch.NUM_WARMUPS) * latency_s
    offline_s = CLOCK.now() - before - asked_alone_s
    assert median(found, "encode_s") == pytest.approx(ENCODE_S)
    assert median(found, "prefill_s") == pytest.approx(PREFILL_S)
    assert median(found, "ttft_s") == pytest.approx(ENCODE_S + PREFILL_S)
    assert median(found, "per_token_s") == pytest.approx(TOKEN_S)
    assert median(found, "latency_s") == pytest.approx(latency_s)
    assert alone.latency_s is not None and alone.latency_s.ci95 is not None
    assert (alone.latency_s.p99, *alone.latency_s.ci95) == pytest.approx((latency_s,) * 3)
    assert (alone.compared, alone.disagreements) == (20, 0)
    assert (alone.place.device, alone.place.dtype) == ("NVIDIA H200", "bfloat16")
    offline = found.offline
    assert offline is not None and offline_s == pytest.approx(80 * 0.05 + 80 * 4 / 8 * TOKEN_S)
    assert offline.samples_per_s == pytest.approx(80 / offline_s, rel=1e-3)
    assert offline.tokens_per_s == pytest.approx((80 * 4 + 8) / offline_s, rel=1e-3)
    assert offline.device_seconds_per_sample == pytest.approx(offline_s / 80, rel=1e-3)
    assert (offline.num_devices, offline.device) == (1, "NVIDIA H200")
    assert found.usd_per_1000_samples == pytest.approx(1000 * offline_s / 80 * 0.001, rel=1e-3)
    assert found.flops_per_sample == FLOPS
    assert found.mfu == pytest.approx(FLOPS / (offline_s / 80) / 989e12, rel=1e-3)
    assert (found.visual_tokens_per_image, found.truncated) == (64, 8)


def test_a_run_of_ten_and_one_of_a_thousand_have_the_same_latency(run: Run) -> None:
    few, many = (costs(run("short", n, str(n)), "short") for n in (10, 1000))
    assert few.single_stream is not None and many.single_stream is not None
    assert (few.single_stream.n, many.single_stream.n) == (8, 64)
    for name in ("ttft_s", "per_token_s", "latency_s"):
        assert median(few, name) == pytest.approx(median(many, name))


def test_tasks_of_one_run_have_the_throughput_that_each_has_alone(run: Run) -> None:
    both = run("short,long", 150, "both")
    for name in TOKENS:
        alone, together = costs(run(name, 150, name), name).offline, costs(both, name).offline
        assert alone is not None and together is not None
        assert together.samples_per_s == pytest.approx(alone.samples_per_s, rel=0.05)
        assert together.tokens_per_s == pytest.approx(alone.tokens_per_s, rel=0.05)
    times = [costs(both, name).offline for name in TOKENS]
    whole = both.costs.offline
    assert whole is not None and whole.samples_per_s is not None
    parts = sum(150 / one.samples_per_s for one in times if one and one.samples_per_s)
    assert parts == pytest.approx(300 / whole.samples_per_s)


def test_answers_that_differ_alone_are_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Backend, "changes_alone", True)
    found = costs(run("short", 12), "short").single_stream
    assert found is not None and (found.compared, found.disagreements) == (8, 8)
    assert main(command(tmp_path)) == 0
    assert "short@test: 8 of 8 answers differ when they are asked alone" in capsys.readouterr().out


def command(tmp_path: Path, *more: str) -> list[str]:
    folders = ["--tasks-dir", str(tmp_path / "tasks"), "--data-dir", str(tmp_path / "data")]
    start = ["run", "--model", "virtual:it", "--tasks", "short", "--limit", "12"]
    return [*start, *folders, "--out", str(tmp_path / "run"), *more]


def test_the_table_and_the_json_say_the_same(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run("short", 12)
    assert main(command(tmp_path)) == 0
    head, row, *_ = (re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines()[2:])
    shown = dict(zip(head, row, strict=True))
    assert (shown["task"], shown["score"], shown["n"]) == ("short@test", "100.00 !", "12")
    assert (shown["TTFT ms"], shown["latency ms"]) == ("50", "70")
    assert float(shown["samples/s"]) == pytest.approx(12 / (12 * 0.05 + 8 * TOKEN_S), rel=0.01)
    assert (shown["tokens/image"], shown["truncated"], shown["unparsed"]) == ("64", "1", "0")
    assert main(command(tmp_path, "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    (task,) = document["tasks"]
    assert task["costs"]["single_stream"]["latency_s"]["p50"] == pytest.approx(0.07)
    assert set(task["costs"]["single_stream"]["ttft_s"]) == {"p50", "p90", "p99", "ci95"}
    assert task["costs"]["joules_per_sample"] is None
    assert document["costs"]["offline"]["samples_per_s"] == pytest.approx(
        task["costs"]["offline"]["samples_per_s"]
    )


def test_a_resumed_run_measures_what_is_left_of_it(run: Run, tmp_path: Path) -> None:
    run("short", 40)
    path = tmp_path / "run" / "single-stream.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    assert len(whole) == 10
    path.write_bytes(b"".join(whole[:4]) + whole[4][:20])
    again = costs(run("short", 40), "short").single_stream
    assert again is not None and again.n == 10
    ids = [record.id for record in single_stream.read(tmp_path / "run")]
    assert ids == [json.loads(line)["id"] for line in whole]
    run("short", 40)
    assert len(single_stream.read(tmp_path / "run")) == 10


def test_an_old_folder_is_not_measured_unasked(run: Run, tmp_path: Path) -> None:
    run("short", 12, latency=0)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    del manifest["single_stream"]  # as runs of before have it
    (tmp_path / "run" / "run.json").write_text(json.dumps(manifest))
    assert costs(run("short", 16), "short").single_stream is None
    found = costs(run("short", 16, latency=3), "short").single_stream
    assert found is not None and found.n == 3
    assert costs(run("short", 16), "short").single_stream == found


def test_a_run_goes_on_as_it_was_told_of_latency(run: Run, tmp_path: Path) -> None:
    assert costs(run("short", 12, latency=0), "short").single_stream is None
    assert costs(run("short", 12), "short").single_stream is None
    assert not (tmp_path / "run" / "single-stream.jsonl").exists()


def test_a_model_that_does_not_answer_has_no_latency(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders: dict[str, Any] = {"tasks_dir": tmp_path / "tasks", "data_dir": tmp_path / "data"}
    done = evaluate("constant:yes", "short", limit=4, out=tmp_path / "constant", **folders)
    assert costs(done, "short").single_stream is None
    with pytest.raises(VlmbenchError, match="constant:yes has no latency to measure"):
        evaluate("constant:yes", "short", latency=4, out=tmp_path / "constant", **folders)


def test_a_pass_that_fails_costs_no_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generate = Backend.generate

    def broken(self: Backend, requests: Iterable[Request]) -> Iterator[Response]:
        requests = list(requests)
        if len(requests) == 1:
            raise RuntimeError("the device is lost")
        yield from generate(self, requests)

    monkeypatch.setattr(Backend, "generate", broken)
    done = run("short", 12)
    assert done.is_complete and costs(done, "short").single_stream is None
    said = capsys.readouterr().err
    assert "latency of short@test was not measured whole: RuntimeError: the device is lost" in said


def test_figures_are_read_back_from_the_folder(run: Run, tmp_path: Path) -> None:
    done = run("short,long", 12, usd_per_hour=2.0)
    again = open_run(tmp_path / "run")
    assert again.costs == done.costs
    assert [task.costs for task in again.tasks] == [task.costs for task in done.tasks]


def test_a_server_is_measured_before_it_has_seen_the_samples(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(globals(), "REMEMBERS", True)
    done = run("short", 12)
    first = min(record.time for record in records(tmp_path / "run"))
    alone = single_stream.read(tmp_path / "run")
    assert len(alone) == 8 and all(record.time < first for record in alone)
    offline = costs(done, "short").offline
    assert offline is not None and offline.samples_per_s == pytest.approx(12 / 0.64, rel=0.01)
    run("short", 12)
    assert "has seen" not in capsys.readouterr().err
    found = costs(run("short", 12, latency=12), "short").single_stream
    assert found is not None and found.n == 12
    assert "the server has seen these samples" in capsys.readouterr().err


def test_requests_that_all_fail_alone_end_the_pass(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generate, asked = Backend.generate, []

    def failing(self: Backend, requests: Iterable[Request]) -> Iterator[Response]:
        requests = list(requests)
        if len(requests) > 1:
            yield from generate(self, requests)
            return
        asked.append(requests[0].id)
        yield Response(id=requests[0].id, text=None, finish_reason="error", error="ValueError: no")

    monkeypatch.setattr(Backend, "generate", failing)
    assert run("short", 40).is_complete
    assert len(asked) == 3
    assert "3 requests in a row failed, the last by ValueError: no" in capsys.readouterr().err
