"""Runs that are really killed: nothing lost, nothing twice, the same scores."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.runs.executors import local

SLOW = ("--model", "parrot:0.05", "--batch-size", "1")
TASKS = ("--tasks", "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench")


def assert_each_sample_once(started: Any, out: str) -> None:
    records = started.records(out)
    answered = [(r["task"], r["id"]) for r in records if r["response"] is not None]
    assert len(answered) == len(set(answered)) == 73


def test_kill_9_at_chosen_lines_of_the_log(started: Any, reference: dict[str, bytes]) -> None:
    """The parent or a worker, at a chosen answer; the next start goes on with what is left."""
    rng = random.Random(5)
    folder = started.folder / "killed"
    number = 0
    while len(list(started.folder.glob("kill-*"))) < 10:
        number += 1
        whom, answers = rng.choice(("parent", "worker")), rng.randint(1, 12)
        flags = ("--model", "parrot:0", "--batch-size", "1", "--workers", str(rng.randint(1, 2)))
        code, _, stderr = started.finish(
            "killed", *flags, *TASKS, PARROT_KILLS=f"{whom} {answers}", PARROT_KILL_ID=str(number)
        )
        assert code in (0, -signal.SIGKILL), stderr
        if rng.random() < 0.2:  # a power cut: a torn last line
            with rng.choice(sorted(folder.glob("responses-*.jsonl"))).open("ab") as file:
                file.write(b'{"task": "vqav2@validation", "id": "1", "resp')
        elif code == 0:  # all done: begin anew, and kill that
            assert_each_sample_once(started, "killed")
            assert started.scores("killed") == reference
            folder.rename(folder.with_name(f"killed-{number}"))
    code, _, stderr = started.finish("killed", "--model", "parrot:0", *TASKS)
    assert code == 0, stderr
    assert_each_sample_once(started, "killed")
    assert started.scores("killed") == reference


def test_a_worker_that_dies_is_started_again_with_what_is_left(
    started: Any, reference: dict[str, bytes]
) -> None:
    model = ("--model", "parrot:0/docvqa@validation/70", "--batch-size", "1")
    code, _, stderr = started.finish("mortal", *model, *TASKS, "--workers", "2")
    assert code == 0, stderr
    assert "died (signal 9)" in stderr
    assert_each_sample_once(started, "mortal")
    assert started.scores("mortal") == reference


def test_a_sample_that_always_kills_ends_alone_as_a_failed_record(started: Any) -> None:
    given = ("--model", "parrot:0/docvqa@validation/70001", "--batch-size", "1", "--workers", "2")
    code, _, stderr = started.finish("doomed", *given, *TASKS, PARROT_DIES_AGAIN="1")
    assert code == 1
    records = started.records("doomed")
    assert len({(r["task"], r["id"]) for r in records}) == len(records) == 73
    [failed] = [record for record in records if record["response"] is None]
    assert failed["error"] == "RuntimeError: 3 workers died on it alone (signal 9)"
    assert "1 samples failed" in stderr
    assert started.manifest("doomed")["status"] == "complete"


def test_a_full_disk_loses_nothing(started: Any, reference: dict[str, bytes]) -> None:
    given = ("--model", "parrot:0", *TASKS, "--workers", "2")
    code, _, stderr = started.finish("full", *given, max_file_bytes=9_000)
    assert code == 1
    assert "cannot write to" in stderr
    before = started.records("full")
    assert 0 < len(before) < 73
    started.parrot("full")
    assert_each_sample_once(started, "full")
    assert started.scores("full") == reference


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_is_at_once_and_says_how_to_go_on(
    sent: signal.Signals,
    started: Any,
    reference: dict[str, bytes],
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    out = f"stopped-{sent.name}"
    with started.start(out, *SLOW, *TASKS) as run:
        wait_until(lambda: len(started.records(out)) > 5)
        run.send_signal(sent)
        _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert len(started.records(out)) < 73, "it does not finish first"
    assert "to go on: vlmbench run" in stderr
    assert "Traceback" not in stderr
    assert started.manifest(out)["status"] == "interrupted"
    assert 5 < len(started.records(out)) < 73
    code, _, stderr = started.finish(out, *SLOW, *TASKS)
    assert code == 0, stderr
    assert_each_sample_once(started, out)
    assert started.scores(out) == reference


def test_a_second_run_on_the_same_folder_is_refused(
    started: Any, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    given = ("--model", "parrot:0.3", "--batch-size", "1", *TASKS)
    with started.start("shared", *given) as first:
        wait_until(lambda: len(started.records("shared")) > 0)
        code, _, stderr = started.finish("shared", *given)
        assert code == 2
        assert "another run (process" in stderr
        assert stderr.count("\n") == 1
        fresh, _, stderr = started.finish("shared", *given, "--fresh")
        assert fresh == 2, stderr
        first.kill()
        first.communicate()
    code, _, stderr = started.finish("shared", *given, "--workers", "3")
    assert code == 0, stderr
    assert_each_sample_once(started, "shared")


def test_failed_samples_are_recorded_and_run_again(
    started: Any, reference: dict[str, bytes]
) -> None:
    given = ("--model", "parrot:0", *TASKS)
    code, stdout, stderr = started.finish("failing", *given, PARROT_FAILS="mmmu@validation")
    assert code == 1
    assert "12 samples failed" in stderr
    failed = [r for r in started.records("failing") if r["response"] is None]
    assert {r["error"] for r in failed} == {"ValueError: no"}
    headline = stdout.partition("mmmu@validation")[2].splitlines()[0].split()
    assert headline[:4] == ["-", "-", "0", "12"], stdout  # score, interval, n, failed
    code, stdout, stderr = started.finish("failing", *given)
    assert code == 0, stderr
    assert started.scores("failing") == reference


def test_too_many_failures_stop_the_run(started: Any) -> None:
    given = ("--model", "parrot:0.2", *TASKS, "--batch-size", "4", "--max-failures", "3")
    code, _, stderr = started.finish("broken", *given, PARROT_FAILS="@")
    assert code == 1
    assert "stopped: more than 3 samples failed" in stderr
    assert len(started.records("broken")) < 73


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--model", "parrot:0.01"], 'model.spec was "parrot:0"', id="model"),
        pytest.param(["--prompt-style", "lmms"], 'prompt.style was "idefics2"', id="prompt"),
        pytest.param(["--max-new-tokens", "5"], "prompt.max_new_tokens was null", id="length"),
        pytest.param(["--blind"], "prompt.blind was false, is now true", id="blind"),
    ],
)
def test_another_question_is_refused_with_the_difference(
    started: Any, reference: dict[str, bytes], flags: list[str], message: str
) -> None:
    before = started.records("reference")
    code, _, stderr = started.finish("reference", "--model", "parrot:0", *TASKS, *flags)
    assert code == 2
    assert message in stderr
    assert "--fresh" in stderr
    assert stderr.count("\n") == 1
    assert started.records("reference") == before


def test_changed_data_is_refused(started: Any, tmp_path: Path) -> None:
    copy = tmp_path / "textvqa"
    shutil.copytree(started.data_dir / "textvqa", copy)
    started.parrot("data", "--data-dir", str(tmp_path), tasks="textvqa")
    file = next(copy.rglob("validation*.parquet"))
    table = pq.read_table(file)
    pq.write_table(table.slice(0, len(table) - 1), file)
    given = ("--model", "parrot:0", "--tasks", "textvqa", "--data-dir", str(tmp_path))
    code, _, stderr = started.finish("data", *given)
    assert code == 2
    assert "data.textvqa@validation.fingerprint was" in stderr


def test_fresh_sets_the_earlier_run_aside(started: Any) -> None:
    started.parrot("aside", tasks="docvqa")
    started.parrot("aside", "--prompt-style", "lmms", "--fresh", tasks="docvqa")
    kept = [path for path in started.folder.glob("aside.*") if (path / "run.json").exists()]
    assert len(kept) == 1
    assert started.manifest("aside")["prompt"]["style"] == "lmms"


def test_answers_whose_run_is_unknown_are_scored_only_on_demand(
    started: Any, reference: dict[str, bytes]
) -> None:
    started.parrot("orphans")
    (started.folder / "orphans" / "run.json").unlink()
    given = ("--model", "parrot:0", *TASKS)
    code, _, message = started.finish("orphans", *given)
    assert code == 2 and "holds answers without a run.json" in message
    started.parrot("orphans", "--resume")
    assert started.scores("orphans") == reference
    (started.folder / "orphans" / "run.json").unlink()
    assert "is now in" in started.finish("orphans", *given, "--fresh")[2]
    assert len(started.records("orphans")) == 73


def test_a_start_that_failed_leaves_its_folder_to_another_model(started: Any) -> None:
    tasks = ("--tasks", "vqav2", "--max-retries", "0")
    assert started.finish("taken", "--model", "openai:http://127.0.0.1:9#m", *tasks)[0] == 2
    assert started.manifest("taken")["model"]["spec"].startswith("openai")
    started.parrot("taken", tasks="vqav2")
    assert started.manifest("taken")["model"]["spec"] == "parrot:0"


def test_a_single_worker_sees_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert local.environments(1, None) == [{}]
    assert [own["CUDA_VISIBLE_DEVICES"] for own in local.environments(2, False)] == ["", ""]
    assert local.environments(2, True) == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "35"]
    with pytest.raises(VlmbenchError, match="'3,5', 2 of the 3 GPUs asked for"):
        local.environments(3, True)
