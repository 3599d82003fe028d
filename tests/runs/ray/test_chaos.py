"""Many deaths on a Ray cluster, with counts; `scripts/chaos_ray` runs them, the suite does not."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    "VLMBENCH_CHAOS" not in os.environ, reason="it takes many minutes: scripts/chaos_ray"
)

TASKS = ("--tasks", "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench")
SLOW = ("--model", "parrot:0.25", "--batch-size", "1", *TASKS)
NUM_SAMPLES = 73
BOUND_S = 240
"""In which each run ends, with what its cluster then has."""

CUT_S = 30


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """What all runs of the module came to; printed at its end."""
    found: Counter[str] = Counter()
    yield found
    print(f"\nchaos_ray: {json.dumps(found)}")


class Chaos:
    """A run on the cluster, and what is done to it at chosen lines of its log."""

    def __init__(self, started: Any, cluster: Any, tally: Counter[str], reference: Any) -> None:
        self.started, self.cluster, self.tally = started, cluster, tally
        self._reference = reference

    def start(self, out: str, *flags: str) -> None:
        given = (*SLOW, "--ray", self.cluster.address, "--stall-timeout", "5", *flags)
        self.out = out
        self.run: subprocess.Popen[str] = self.started.start(out, *given)

    def at(self, line: int) -> bool:
        """Wait for so many lines of the log; False: the run has ended before."""
        deadline = time.monotonic() + BOUND_S
        while len(self.started.records(self.out, torn=True)) < line:
            assert time.monotonic() < deadline, "it does not come so far"
            if self.run.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def ends_whole(self, what: str, code: int = 0) -> str:
        """The run ends in bounded time, with all answers and the scores of a local run."""
        _, stderr = self.run.communicate(timeout=BOUND_S)
        assert self.run.returncode == code, stderr
        records = [r for r in self.started.records(self.out) if r["response"] is not None]
        keys = {(r["task"], r["id"]) for r in records}
        found = re.search(r"lost: ([\d,]+) samples handed out for [\d,]+, ([\d,]+) answers", stderr)
        given, refused = map(int, found.groups()) if found else (NUM_SAMPLES, 0)
        self.tally.update(
            {
                "runs": 1,
                "samples": NUM_SAMPLES,
                "handed out": given,
                "refused": refused,
                "lost": NUM_SAMPLES - len(keys),
                "twice": len(records) - len(keys),
                what: 1,
            }
        )
        assert len(keys) == len(records) == NUM_SAMPLES
        assert self.started.scores(self.out) == self._reference
        return stderr


@pytest.fixture
def chaos(started: Any, cluster: Any, tally: Any, reference: dict[str, bytes]) -> Chaos:
    return Chaos(started, cluster, tally, reference)


@pytest.fixture(scope="module")
def nodes(cluster: Any) -> list[int]:
    """Numbers of the nodes that live: a test that kills one adds another."""
    return [cluster.add(), cluster.add()]


@pytest.mark.parametrize("seed", range(5))
def test_nodes_killed_at_chosen_lines(seed: int, chaos: Chaos, nodes: list[int]) -> None:
    """Four nodes a run, twenty in all, each replaced by one that joins late."""
    rng = random.Random(seed)
    chaos.start(f"nodes-{seed}", "--ray-data", rng.choice(["nodes", "driver"]))
    for line in sorted(rng.sample(range(3, 55), 4)):
        assert chaos.at(line)
        chaos.cluster.remove(nodes.pop(rng.randrange(len(nodes))))
        nodes.append(chaos.cluster.add())
        chaos.tally["nodes killed"] += 1
    chaos.ends_whole("runs with nodes killed")


def test_raylets_killed(chaos: Chaos, nodes: list[int]) -> None:
    chaos.start("raylets")
    for line in (6, 25):
        assert chaos.at(line)
        chaos.cluster.kill_raylet(nodes.pop(0))
        nodes.append(chaos.cluster.add())
        chaos.tally["raylets killed"] += 1
    chaos.ends_whole("runs with raylets killed")


@pytest.mark.parametrize("whom", ["relays", "workers"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT])
def test_processes_killed_and_stopped(
    whom: str, sent: signal.Signals, chaos: Chaos, nodes: list[int]
) -> None:
    chaos.start(f"{whom}-{sent.name}", "--ray-data", "driver")
    for line in (5, 20, 35):
        assert chaos.at(line)
        os.kill(getattr(chaos.cluster, whom)()[0], sent)
        chaos.tally[f"{whom} {sent.name}"] += 1
    chaos.ends_whole(f"runs with {whom} {sent.name}")


def test_the_driver_killed_and_started_again(chaos: Chaos, nodes: list[int]) -> None:
    rng = random.Random(1)
    for line in sorted(rng.sample(range(3, 60), 5)):
        chaos.start("driver")
        assert chaos.at(line)
        chaos.run.kill()
        chaos.run.communicate()
        chaos.tally["drivers killed"] += 1
    chaos.start("driver")
    chaos.ends_whole("runs with drivers killed")


def test_a_deadly_sample_is_a_failed_record(started: Any, cluster: Any, nodes: list[int]) -> None:
    given = ("--model", "parrot:0/docvqa@validation/70001", "--batch-size", "1", *TASKS)
    code, _, stderr = started.finish("poison", *given, "--ray", cluster.address)
    assert code == 0, f"it dies of it once: {stderr}"
    assert "workers were lost" in stderr


def test_a_full_disk_at_the_driver_loses_nothing(chaos: Chaos, nodes: list[int]) -> None:
    folder: Path = chaos.started.folder / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(folder)], check=True)
    try:
        chaos.start("full/run")
        _, stderr = chaos.run.communicate(timeout=BOUND_S)
        assert chaos.run.returncode in (1, 2), stderr  # 2: the scores do not fit either
        assert "cannot write" in stderr and "Traceback" not in stderr
        assert 0 < len(chaos.started.records("full/run", torn=True)) < NUM_SAMPLES
        subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
        chaos.start("full/run")
        chaos.ends_whole("runs with a full disk")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_link_that_is_cut(
    started: Any, tally: Any, reference: Any, clusters: Callable[..., Any]
) -> None:
    """A node in a namespace of its own, which cannot be reached for half a minute."""
    cluster = clusters("10.77.0.1")
    cluster.add()
    before = started.prefix, started.environment
    started.prefix, started.environment = cluster.inside, cluster.environment
    try:
        with cluster.far_node("10.77.0.2") as far:
            chaos = Chaos(started, cluster, tally, reference)
            chaos.start("link", "--ray-data", "driver", "--workers", "2")
            assert chaos.at(15)
            far.cut()
            time.sleep(CUT_S)
            far.mend()
            chaos.ends_whole("runs with a link cut")
    finally:
        started.prefix, started.environment = before
