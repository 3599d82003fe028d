"""Started by `torchrun`: each process has its share, and the last one reports."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

TASKS = "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench"


def launch(started: Any, out: str, num_processes: int, model: str = "parrot:0", **env: str) -> Any:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={num_processes}", "-m", "vlmbench", "run", "--model", model]
    command += ["--tasks", TASKS, "--data-dir", str(started.data_dir)]
    command += ["--out", str(started.folder / out), "--batch-size", "1", "--no-latency"]
    environment = started.environment | env
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_processes_of_a_launcher_share_the_work(started: Any, reference: dict[str, bytes]) -> None:
    done = launch(started, "launched", 3, "parrot:0.01")
    assert done.returncode == 0, done.stderr
    assert started.scores("launched") == reference
    records = started.records("launched")
    assert len({(r["task"], r["id"]) for r in records}) == len(records) == 73
    assert {record["worker"] for record in records} == {"0", "1", "2"}
    assert done.stdout.count("\nmmbench@dev-en") == 1, "one process alone prints the table"
    assert started.manifest("launched")["status"] == "complete"


def test_a_launched_run_goes_on_with_another_number_of_processes(
    started: Any, reference: dict[str, bytes]
) -> None:
    first = launch(started, "halved", 2, PARROT_FAILS="vqa@")
    assert first.returncode == 1  # some samples failed
    assert launch(started, "halved", 3).returncode == 0
    assert started.scores("halved") == reference


def test_a_failure_that_a_later_rank_tries_again_is_scored(
    started: Any, reference: dict[str, bytes]
) -> None:
    """Ranks that a script starts one after the other, twice."""
    given = ("--model", "parrot:0", "--tasks", TASKS, "--batch-size", "1")
    for failing in ({"PARROT_FAILS": "vqa@"}, {}):
        for rank in ("0", "1"):
            started.finish("retried", *given, RANK=rank, WORLD_SIZE="2", **failing)
        tasks = started.manifest("retried")["tasks"].values()
        assert started.manifest("retried")["status"] == "complete"
        assert (sum(task["num_failed"] for task in tasks) > 0) == bool(failing)
    assert started.scores("retried") == reference
