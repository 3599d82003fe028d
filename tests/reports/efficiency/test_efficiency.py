"""Costs read from logs whose every figure is known, and from a real run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench import evaluate, files
from vlmbench.reports import efficiency
from vlmbench.runs.folder import usage
from vlmbench.runs.folder.finished import FinishedTask, open_run
from vlmbench.runs.folder.manifest import DataRecord, TaskRecord, as_builtins
from vlmbench.runs.folder.usage import Session
from vlmbench.task.binding import PromptSettings

TASK = "vqav2@validation"

Write = Callable[..., FinishedTask]


def record(id: str, time: float, *, task: str = TASK, worker: str = "0", **other: Any) -> Any:
    """A logged answer of three tokens, 64 of a picture in its prompt, and 0.1 s between tokens."""
    return {
        "task": task,
        "id": id,
        "response": "a b",
        "finish_reason": "stop",
        "visual_tokens": 64,
        "prompt_tokens": 100,
        "generated_tokens": 3,
        "flops": 10**9,
        "timings": {"first_token_s": 0.5, "decode_s": 0.3, "total_s": 1.0},
        "images": ["a"],
        "worker": worker,
        "time": time,
    } | other


def session(
    worker: str = "0", started: float = 1000.0, ended: float | None = 1e9, **other: Any
) -> Session:
    return Session(worker=worker, started=started, ended=ended, **other)


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """A function: records and sessions -> the task of a folder that holds them."""

    def write(records: list[dict[str, Any]], sessions: list[Session]) -> FinishedTask:
        for entry in records:
            with (tmp_path / f"responses-{entry['worker']}.jsonl").open("ab") as file:
                file.write(files.encode(entry))
        for used in sessions:
            with (tmp_path / f"usage-{used.worker}.jsonl").open("ab") as file:
                file.write(files.encode(used))
        return FinishedTask(
            folder=tmp_path,
            name=TASK,
            record=TaskRecord(
                metric="vqa_accuracy",
                num_selected=len(records),
                num_missing=0,
                num_failed=sum(entry["response"] is None for entry in records),
                profiles=(),
                scores_version=None,
            ),
            data=DataRecord(
                version=1, source="made", revision="", fingerprint="", num_rows=len(records)
            ),
            prompt=PromptSettings(),
            summaries={},
        )

    return write


def test_tokens_are_counted_by_picture_and_by_sample(written: Write) -> None:
    found = efficiency.of_task(
        written(
            [
                record("1", 1001),
                record("2", 1002, visual_tokens=640, images=["a", "b"]),
                record("3", 1003, visual_tokens=0, images=[]),
                record("4", 1004, response=None, visual_tokens=None),
            ],
            [session()],
        )
    )
    assert (found.num_samples, found.num_failed, found.num_images) == (3, 1, 3)
    assert found.visual_tokens_per_image is not None and found.visual_tokens is not None
    assert found.visual_tokens_per_image.mean == pytest.approx((64 + 640) / 3)
    assert found.visual_tokens_histogram == {64: 1, 320: 2}
    assert found.visual_tokens.mean == pytest.approx((64 + 640) / 3)
    assert found.visual_tokens.p50 == 64


def test_quantiles_of_latencies_are_those_of_the_log(written: Write) -> None:
    records = [record(str(n), 1001 + n, timings={"total_s": n / 100}) for n in range(101)]
    latency = efficiency.of_task(written(records, [session()])).latency_s
    assert latency is not None
    quantiles = (latency.p10, latency.p50, latency.p90, latency.p99)
    assert quantiles == pytest.approx((0.1, 0.5, 0.9, 0.99))


@pytest.mark.parametrize(
    ("generated", "finish_reason", "expected"),
    [
        pytest.param(3, "stop", 0.1, id="a stop id is one more step"),
        pytest.param(4, "length", 0.1, id="the first token is no step"),
        pytest.param(1, "length", None, id="no step"),
        pytest.param(0, "stop", None, id="no token"),
        pytest.param(None, "stop", None, id="not counted"),
    ],
)
def test_time_a_token_is_that_of_decoding_steps(
    written: Write, generated: int | None, finish_reason: str, expected: float | None
) -> None:
    logged = record("1", 1001, generated_tokens=generated, finish_reason=finish_reason)
    found = efficiency.of_task(written([logged], [session()])).per_token_s
    assert (found and found.mean) == (expected and pytest.approx(expected))


def test_throughput_is_that_of_one_worker(written: Write) -> None:
    """Two workers for 10 s and 6 s, with 4 and 4 samples."""
    records = [record(f"0{n}", 1002.5 + 2.5 * n) for n in range(4)]
    records += [record(f"1{n}", 1001.5 + 1.5 * n, worker="1") for n in range(4)]
    found = efficiency.of_task(written(records, [session(), session("1")]))
    assert found.busy_s == pytest.approx(16)
    assert found.samples_per_s == pytest.approx(8 / 16)
    assert found.tokens_per_s == pytest.approx(24 / 16)


def test_tasks_of_one_session_get_time_by_their_attributed_device_time(written: Write) -> None:
    records = [
        record("1", 1006.0, device_s=1.0),
        record("2", 1006.001, task="textvqa@validation", device_s=2.5),
        record("3", 1006.002, device_s=1.0),
        record("4", 1008.0, task="textvqa@validation", device_s=1.5),
    ]
    found = efficiency.of_task(written(records, [session()]))
    assert found.busy_s == pytest.approx(8 * 2 / 6)


def test_tasks_that_nobody_can_tell_apart_have_no_time_of_their_own(written: Write) -> None:
    records = [record("1", 1003), record("2", 1004, task="textvqa@validation", device_s=1.0)]
    found = efficiency.of_task(written(records, [session(host_energy_j=8.0)]))
    assert (found.busy_s, found.samples_per_s, found.energy_per_sample_j) == (None, None, None)


def test_a_resumed_run_counts_no_pause_and_only_the_last_answer(written: Write) -> None:
    records = [
        record("1", 1002),
        record("2", 1003, response=None),
        record("2", 5001),
        record("3", 5002),
    ]
    found = efficiency.of_task(written(records, [session(), session(started=5000.0)]))
    assert (found.num_samples, found.num_failed) == (3, 0)
    assert found.busy_s == pytest.approx(3 + 2)


def test_memory_is_the_most_of_any_worker(written: Write) -> None:
    sessions = [
        session("0", peak_host_memory_bytes=5, peak_device_memory_bytes=7),
        session("1", peak_host_memory_bytes=6),
    ]
    found = efficiency.of_task(
        written([record("1", 1001), record("2", 1001, worker="1")], sessions)
    )
    assert (found.peak_host_memory_bytes, found.peak_device_memory_bytes) == (6, 7)


@pytest.mark.parametrize(
    ("name", "dtype", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),
        ("NVIDIA L4", "float32", 30.3e12),
        ("NVIDIA A100-SXM4-80GB", "float64", None),
        ("", "float32", None),
    ],
)
def test_utilisation_is_work_over_what_the_device_could(
    written: Write, name: str, dtype: str, peak: float | None
) -> None:
    records = [record("1", 1001, flops=3 * 10**12), record("2", 1002, flops=10**12)]
    used = session(device_name=name, dtype=dtype)
    found = efficiency.of_task(written(records, [used]))
    assert found.flops_per_sample == pytest.approx(2e12)
    assert found.flops_utilisation == (peak and pytest.approx(2e12 / peak))


def test_the_energy_of_a_shared_host_is_counted_once(written: Write) -> None:
    """Two workers of one machine meter the same 100 J; each has a GPU of its own."""
    shared: dict[str, Any] = {"machine": "m", "host_energy_j": 100.0}
    sessions = [session(w, device_energy_j=j, **shared) for w, j in (("0", 10.0), ("1", 30.0))]
    records = [record(str(n), 1001 + n, worker=str(n % 2)) for n in range(4)]
    found = efficiency.of_task(written(records, sessions))
    assert found.energy_of == ("host", "device")
    assert found.energy_per_sample_j == pytest.approx((100 + 40) / 4)


def test_energy_goes_to_tasks_by_their_time(written: Write) -> None:
    other = record("2", 1004, task="textvqa@validation", device_s=0.5)
    records = [record("1", 1003, device_s=1.5), other]
    found = efficiency.of_task(written(records, [session(host_energy_j=8.0)]))
    assert found.energy_per_sample_j == pytest.approx(6)


def test_energy_of_a_session_that_was_killed_is_unknown(written: Write) -> None:
    records = [record("1", 1001), record("2", 1009)]
    found = efficiency.of_task(written(records, [session(ended=1002.0, host_energy_j=8.0)]))
    assert found.energy_per_sample_j is None and found.busy_s == pytest.approx(9)


def test_what_a_session_does_not_know_makes_the_sum_unknown(written: Write) -> None:
    records = [record("1", 1001), record("2", 1001, worker="1", flops=None)]
    found = efficiency.of_task(written(records, [session("0", host_energy_j=8.0), session("1")]))
    assert (found.energy_per_sample_j, found.energy_of) == (None, ())
    assert found.flops_per_sample is None


def test_answers_of_no_recorded_session_leave_times_unknown(written: Write) -> None:
    found = efficiency.of_task(written([record("1", 1001)], []))
    assert (found.busy_s, found.samples_per_s, found.flops_utilisation) == (None, None, None)
    assert found.latency_s is not None


def test_a_run_tells_its_costs_and_unknown_ones_are_none(hub_copies: Path, tmp_path: Path) -> None:
    names = ["vqav2@validation", "mmmu@validation"]
    evaluate("constant:yes", names, out=tmp_path / "run", data_dir=hub_copies)
    run = open_run(tmp_path / "run")
    parts = [efficiency.of_task(task) for task in run.tasks]
    assert [part.name for part in parts] == names
    for part, task in zip(parts, run.tasks, strict=True):
        assert part.num_samples == task.num_selected > 0
        assert part.peak_host_memory_bytes is not None and part.peak_host_memory_bytes > 2**20
    for unknown in ("visual_tokens", "first_token_s", "flops_per_sample", "flops_utilisation"):
        assert all(getattr(part, unknown) is None for part in parts)
    [only] = usage.sessions(tmp_path / "run")
    assert only.ended is not None and only.started <= only.ended


@pytest.mark.parametrize(
    "changes",
    [{"started": "noon"}, {"started": None}, {"worker": 0}, {"host_energy_j": "8"}, {"work": []}],
)
def test_a_session_with_values_of_other_types_counts_as_never_written(
    written: Write, tmp_path: Path, changes: dict[str, Any]
) -> None:
    task = written([record("1", 1001)], [])
    lines = [as_builtins(session()) | changes, as_builtins(session("1"))]
    (tmp_path / "usage-0.jsonl").write_bytes(b"".join(map(files.encode, lines)))
    assert [found.worker for found in usage.sessions(tmp_path)] == ["1"]
    assert efficiency.of_task(task).busy_s is None
