"""Runs on a Ray cluster: the scores of a local run, whatever dies.

`scripts/chaos_ray` has many more deaths.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

import pytest

TASKS = ("--tasks", "vqav2,textvqa,docvqa,mmmu,mathvista,mmbench")
PARROT = ("--model", "parrot:0", *TASKS)
SLOW = ("--model", "parrot:0.25", "--batch-size", "1", *TASKS)

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture(scope="module")
def nodes(cluster: Any) -> Any:
    """The cluster with two nodes of one worker each."""
    cluster.add()
    cluster.add()
    return cluster


def assert_whole(started: Any, out: str, reference: Mapping[str, bytes]) -> None:
    answered = [(r["task"], r["id"]) for r in started.records(out) if r["response"] is not None]
    assert len(set(answered)) == 73, "a sample is lost"
    assert len(answered) == 73, "a sample is there twice"
    assert started.scores(out) == reference


@pytest.mark.parametrize("data", ["nodes", "driver"])
def test_scores_are_those_of_a_local_run_whoever_reads_the_data(
    data: str, started: Any, reference: dict[str, bytes], nodes: Any
) -> None:
    code, _, stderr = started.finish(
        data, *PARROT, "--ray", nodes.address, "--workers", "2", "--ray-data", data
    )
    assert code == 0, stderr
    assert_whole(started, data, reference)


def test_whatever_dies_nothing_is_lost_or_twice(
    started: Any, reference: dict[str, bytes], nodes: Any, wait_until: Wait
) -> None:
    """A worker's process, one that is frozen, an actor, a node; and a node that joins late."""
    given = ("--ray", nodes.address, "--ray-data", "driver", "--stall-timeout", "3")
    with started.start("chaos", *SLOW, *given) as run:

        def answered(number: int) -> None:
            wait_until(lambda: len(started.records("chaos")) >= number or run.poll() is not None)

        answered(3)
        os.kill(nodes.workers()[0], signal.SIGKILL)
        answered(12)
        os.kill(nodes.workers()[0], signal.SIGSTOP)
        nodes.add()
        answered(24)
        os.kill(nodes.relays()[0], signal.SIGKILL)
        answered(36)
        nodes.remove(1)
        _, stderr = run.communicate(timeout=300)
    assert run.returncode == 0, stderr
    assert "died (signal 9)" in stderr and "has not answered for 3 s" in stderr
    assert "workers were lost" in stderr
    assert_whole(started, "chaos", reference)
    wait_until(lambda: not nodes.workers())


def test_a_killed_driver_frees_its_workers_and_the_same_command_goes_on(
    started: Any, reference: dict[str, bytes], nodes: Any, wait_until: Wait
) -> None:
    given = (*SLOW, "--ray", nodes.address)
    with started.start("killed", *given) as run:
        wait_until(lambda: len(started.records("killed")) >= 5)
        run.kill()
        run.communicate()
    wait_until(lambda: not nodes.workers())
    assert len(started.records("killed")) < 73
    code, _, stderr = started.finish("killed", *given)
    assert code == 0, stderr
    assert_whole(started, "killed", reference)


def test_ctrl_c_keeps_all_and_leaves_no_worker(started: Any, nodes: Any, wait_until: Wait) -> None:
    with started.start("stopped", *SLOW, "--ray", nodes.address) as run:
        wait_until(lambda: len(started.records("stopped")) >= 3)
        run.send_signal(signal.SIGTERM)
        _, stderr = run.communicate(timeout=300)
    assert run.returncode == 130
    assert "to go on: vlmbench run" in stderr and "Traceback" not in stderr
    assert started.manifest("stopped")["status"] == "interrupted"
    wait_until(lambda: not nodes.workers())


def test_a_mistake_that_every_node_finds_is_the_users(started: Any, nodes: Any) -> None:
    given = ("--model", "openai:http://127.0.0.1:9#m", "--tasks", "vqav2", "--max-retries", "0")
    code, _, stderr = started.finish("mistake", *given, "--ray", nodes.address)
    assert code == 2, stderr
    assert "is left alone" in stderr and "Traceback" not in stderr
    assert "127.0.0.1:9" in stderr.splitlines()[-1]


def test_a_node_that_lacks_something_is_left_alone_and_named(
    started: Any, reference: dict[str, bytes], nodes: Any
) -> None:
    """The last test here, as the node stays: the tests' backend is not installed there."""
    nodes.add_bare()
    code, _, stderr = started.finish("bare", *SLOW, "--ray", nodes.address)
    assert code == 0, stderr
    assert "is left alone: " in stderr and "parrot" in stderr
    assert_whole(started, "bare", reference)
