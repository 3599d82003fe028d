"""Local worker processes, where one of them freezes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from vlmbench.runs.dispatch import Lease
from vlmbench.runs.drive import drive
from vlmbench.runs.executors.local import LocalWorkers
from vlmbench.runs.executors.protocol import Event, Finished, Joined
from vlmbench.runs.folder.responses import answered
from vlmbench.runs.job import Job, lease_to_json
from vlmbench.runs.plan import Item
from vlmbench.task.binding import PromptSettings

PIPE_BYTES = 1 << 16
STALL_S = 0.5


class Freezing(LocalWorkers):
    """The first worker that is to get a lease is frozen just before."""

    gave_in_s = 0.0
    frozen = 0

    def give(self, worker: str, lease: Lease) -> None:
        if self.frozen:
            return super().give(worker, lease)
        assert len(lease_to_json(lease)) > 2 * PIPE_BYTES, "it fits into the pipe"
        self.frozen = self._workers[worker].child.pid
        os.kill(self.frozen, signal.SIGSTOP)
        started = time.monotonic()
        super().give(worker, lease)
        self.gave_in_s = time.monotonic() - started


@pytest.fixture
def job(hub_copies: Path) -> Job:
    return Job(
        tasks=["vqav2"],
        model="constant:yes",
        prompt=PromptSettings().resolved(),
        settings={},
        data_dir=str(hub_copies),
        tasks_dir=None,
    )


@pytest.fixture
def items() -> Sequence[Item]:
    """One row many times, under ids of a thousand letters."""
    ids = [f"{number}-{'x' * 1000}" for number in range(400)]
    name = "vqav2@validation"
    return [Item(task=name, index=0, id=id, image_group=id, cost=1.0) for id in ids]


def test_a_worker_frozen_while_it_is_given_a_large_lease_is_replaced(
    job: Job, items: Sequence[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = Freezing(job, [{}])
    assert drive(executor, items, tmp_path, stall_s=STALL_S).problems == []
    assert executor.gave_in_s < 1, "the driver waited for the worker"
    assert len(answered(tmp_path)["vqav2@validation"]) == len(items)
    error = capsys.readouterr().err
    assert "has not answered" in error and "died (signal 9)" in error


def test_a_large_lease_arrives_whole_at_a_worker_that_was_slow_to_read(
    job: Job, items: Sequence[Item]
) -> None:
    executor = LocalWorkers(job, [{}])
    events: list[Event] = []
    while not any(isinstance(event, Joined) for event in events):
        events += executor.wait(1)
    [worker] = executor._workers.values()
    os.kill(worker.child.pid, signal.SIGSTOP)
    executor.give(worker.name, Lease(1, tuple(items)))
    assert not worker.child.flush(), "all of it was in the pipe"
    os.kill(worker.child.pid, signal.SIGCONT)
    told: list[Event] = []
    while not any(isinstance(event, Finished) for event in told):
        told += executor.wait(1)
    executor.close(is_at_once=False)
    assert len(told) >= len(items) + 1
