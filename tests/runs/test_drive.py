"""The driver on an executor that does what it is told: no process, no model."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vlmbench import files
from vlmbench.errors import VlmbenchError
from vlmbench.runs.dispatch import Lease
from vlmbench.runs.drive import MAX_FRUITLESS_LOSSES, drive
from vlmbench.runs.executors.protocol import (
    Answered,
    Event,
    Finished,
    Joined,
    Lost,
    Mistake,
    Noticed,
    Used,
)
from vlmbench.runs.failures import NUM_ALIKE
from vlmbench.runs.folder.responses import (
    ResponseRecord,
    Responses,
    answered,
    encoded,
    records,
)
from vlmbench.runs.folder.usage import Session, sessions
from vlmbench.runs.plan import Item
from vlmbench.schema import Response

Behave = Callable[[str, Item], bool | None]
"""Worker and sample -> True: answers; False: fails on it; None: dies on it."""


class Scripted:
    """An executor whose workers answer a lease the moment that they are given it."""

    def __init__(self, behave: Behave, names: Sequence[str] = ("0",)) -> None:
        self._behave = behave
        self._events: deque[Event] = deque(Joined(name) for name in names)
        self.num_expected = len(names)
        self.given: list[tuple[str, int]] = []
        self.is_closed = False

    def wait(self, timeout_s: float) -> Sequence[Event]:
        events, self._events = self._events, deque()
        return list(events)

    def give(self, worker: str, lease: Lease) -> None:
        self.given.append((worker, len(lease.items)))
        for item in lease.items:
            is_good = self._behave(worker, item)
            if is_good is None:
                self._events += (Lost(worker, "signal 9", "out of luck"), Joined(worker))
                return
            self._events.append(Answered(worker, line(item, worker, is_good)))
        self._events.append(Finished(worker))

    def drop(self, worker: str) -> None:
        self._events += (Lost(worker, "dropped"), Joined(worker))

    def close(self, *, is_at_once: bool) -> Sequence[Event]:
        self.is_closed = True
        used = files.encode(Session(worker="0", started=1.0, ended=2.0))
        return [] if is_at_once else [Used("0", used)]


def line(item: Item, worker: str, is_good: bool = True) -> bytes:
    response = Response(
        id=item.id,
        text="yes" if is_good else None,
        finish_reason="stop" if is_good else "error",
        error="" if is_good else "ValueError: no",
    )
    return encoded(item.task, item.id, response, worker=worker, time=1.0)


def items(count: int) -> list[Item]:
    return [
        Item(task="t@s", index=n, id=str(n), image_group=str(n), cost=1.0) for n in range(count)
    ]


def test_all_is_written_and_what_was_used_too(tmp_path: Path) -> None:
    executor = Scripted(lambda worker, item: True, ("0", "1"))
    assert drive(executor, items(300), tmp_path).problems == []
    assert sorted(record.id for record in records(tmp_path)) == sorted(map(str, range(300)))
    assert {record.worker for record in records(tmp_path)} == {"0", "1"}
    assert [session.ended for session in sessions(tmp_path)] == [2.0]
    assert executor.is_closed


def test_a_sample_that_kills_every_worker_is_a_failed_record(tmp_path: Path) -> None:
    executor = Scripted(lambda worker, item: None if item.id == "7" else True)
    assert drive(executor, items(200), tmp_path).problems == []
    log = Responses(tmp_path)
    failed = log.get("t@s", "7")
    log.close()
    assert failed is not None and failed.response is None
    assert failed.error == "RuntimeError: 3 workers died on it alone (signal 9)"
    assert len(answered(tmp_path)["t@s"]) == 199


def test_several_deadly_samples_do_not_end_the_run(tmp_path: Path) -> None:
    executor = Scripted(lambda worker, item: None if int(item.id) % 20 == 3 else True)
    assert drive(executor, items(200), tmp_path).problems == []
    assert len(answered(tmp_path)["t@s"]) == 190
    assert len(list(records(tmp_path))) == 200


def test_workers_that_all_die_end_the_run_with_the_reason(tmp_path: Path) -> None:
    executor = Scripted(lambda worker, item: None)
    (problem,) = drive(executor, items(200), tmp_path).problems
    assert f"{MAX_FRUITLESS_LOSSES + 1} workers in a row died without an answer" in problem
    assert "out of luck" in problem and "200 samples not run" in problem
    assert executor.is_closed


def test_more_failures_than_allowed_stop_the_run(tmp_path: Path) -> None:
    executor = Scripted(lambda worker, item: False)
    (problem,) = drive(executor, items(200), tmp_path, max_failures=3).problems
    assert problem == "stopped: more than 3 samples failed"
    assert executor.is_closed


def test_samples_that_all_fail_alike_from_the_first_on_stop_the_run(tmp_path: Path) -> None:
    executor = Scripted(lambda worker, item: False)
    (problem,) = drive(executor, items(200), tmp_path).problems
    assert problem.startswith(
        f"stopped: the first {NUM_ALIKE} samples all failed alike: ValueError"
    )
    assert "--max-failures N" in problem
    assert executor.is_closed


def test_one_answer_among_the_first_keeps_the_run_going(tmp_path: Path) -> None:
    executor = Scripted(lambda worker, item: item.id == "3")
    assert drive(executor, items(200), tmp_path).problems == []
    assert len(list(records(tmp_path))) == 200


def test_what_workers_have_noticed_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Noticing(Scripted):
        def give(self, worker: str, lease: Lease) -> None:
            self._events.append(Noticed(worker, "prompts are bare text"))
            super().give(worker, lease)

    executor = Noticing(lambda worker, item: True, ("0", "1"))
    assert drive(executor, items(300), tmp_path).problems == []
    assert len(executor.given) > 1
    assert capsys.readouterr().err == "vlmbench: prompts are bare text\n"


def test_a_worker_that_hangs_is_replaced_and_its_samples_answered(tmp_path: Path) -> None:
    class Hanging(Scripted):
        hangs = True

        def give(self, worker: str, lease: Lease) -> None:
            if not self.hangs:
                super().give(worker, lease)
            self.hangs = False

    executor = Hanging(lambda worker, item: True)
    assert drive(executor, items(50), tmp_path, stall_s=0.05).problems == []
    assert len(answered(tmp_path)["t@s"]) == 50


class Slow(Scripted):
    """Its workers wait before each answer; nothing more comes from a frozen one."""

    def __init__(self, frozen: str = "", names: Sequence[str] = ("0",)) -> None:
        super().__init__(lambda worker, item: True, names)
        self._frozen = frozen
        self._later: deque[Event] = deque()

    def wait(self, timeout_s: float) -> Sequence[Event]:
        time.sleep(0.02)
        found = list(super().wait(timeout_s))
        self._later += [event for event in found if isinstance(event, Answered | Finished)]
        others = [event for event in found if not isinstance(event, Answered | Finished)]
        return [*others, self._later.popleft()] if self._later else others

    def give(self, worker: str, lease: Lease) -> None:
        if worker != self._frozen:
            super().give(worker, lease)

    def drop(self, worker: str) -> None:
        self._frozen = ""
        super().drop(worker)


@pytest.mark.parametrize("what", ["deleted", "moved", "log deleted", "log replaced"])
def test_a_folder_that_goes_away_is_noticed_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("vlmbench.runs.drive.LOOK_S", 0.05)
    folder, count = tmp_path / "run", 0
    folder.mkdir()

    def watch(record: ResponseRecord | None) -> None:
        nonlocal count
        count += record is not None
        log = folder / "responses-0.jsonl"
        if count != 3 or not log.exists():
            return
        match what:
            case "deleted":
                shutil.rmtree(folder)
            case "moved":
                folder.rename(tmp_path / "elsewhere")
            case "log deleted":
                log.unlink()
            case _:
                log.replace(folder / "kept")
                log.write_bytes(b"mine")

    executor = Slow()
    with pytest.raises(VlmbenchError, match=r"the run's folder .*run is gone, or its log"):
        drive(executor, items(300), folder, watch=watch)
    assert executor.is_closed and count < 50
    if what == "log replaced":
        assert (folder / "responses-0.jsonl").read_bytes() == b"mine"


def test_a_silent_worker_is_told_of_and_then_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vlmbench.runs.drive.SILENCE_S", 0.1)
    outcome = drive(Slow(frozen="0"), items(8), tmp_path, stall_s=0.5)
    assert outcome.problems == [] and len(answered(tmp_path)["t@s"]) == 8
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "has said nothing for" in line] == [told[0]]
    assert "--stall-timeout" in told[0] and "has not answered for" in told[1]


class Unable(Scripted):
    """An executor whose workers die before they are ready."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(lambda worker, item: True, ())
        self._events = deque(Lost("0", "exit code 1", reason) for reason in reasons)
        self.num_expected = 1


def test_the_same_start_that_fails_four_times_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(VlmbenchError, match=r"4 workers in a row .*exit code 1.*no such device"):
        drive(Unable(["no such device"] * 4), items(9), tmp_path)
    assert capsys.readouterr().err == ""


def test_starts_that_fail_for_several_reasons_are_one_line_too(tmp_path: Path) -> None:
    executor = Unable(["one", "two", "one"])
    executor.num_expected = 0
    with pytest.raises(VlmbenchError, match=r"no worker could be started: .*said: one"):
        drive(executor, items(9), tmp_path)


def test_an_executor_without_workers_ends_the_run(tmp_path: Path) -> None:
    class Leaving(Scripted):
        def give(self, worker: str, lease: Lease) -> None:
            self._events.append(Lost(worker, "exit code 1", "no memory"))
            self.num_expected = 0

    (problem,) = drive(Leaving(lambda worker, item: True), items(5), tmp_path).problems
    assert problem == (
        "no worker is left: the last one died (exit code 1) and said: no memory; 5 samples not run"
    )


def test_a_mistake_that_a_worker_finds_is_the_users(tmp_path: Path) -> None:
    class Mistaken(Scripted):
        def give(self, worker: str, lease: Lease) -> None:
            self._events.append(Mistake("there is no such model"))

    executor = Mistaken(lambda worker, item: True)
    with pytest.raises(VlmbenchError, match="there is no such model"):
        drive(executor, items(5), tmp_path)
    assert executor.is_closed


def test_ctrl_c_ends_the_workers_and_keeps_what_was_answered(tmp_path: Path) -> None:
    def watch(record: Any) -> None:
        if record is not None and record.id == "3":
            raise KeyboardInterrupt

    executor = Scripted(lambda worker, item: True)
    with pytest.raises(KeyboardInterrupt):
        drive(executor, items(50), tmp_path, watch=watch)
    assert executor.is_closed
    assert answered(tmp_path)["t@s"] == {"0", "1", "2", "3"}


def test_a_full_disk_at_the_driver_is_a_problem_and_loses_nothing(
    tmp_path: Path, full_disk: Callable[[], Any]
) -> None:
    executor = Scripted(lambda worker, item: True)
    with full_disk():
        (problem,) = drive(executor, items(500), tmp_path).problems
    assert problem.startswith(f"cannot write to {tmp_path}: File too large")
    assert answered(tmp_path) == {}, "no line fits, and none is left torn"
    assert drive(Scripted(lambda worker, item: True), items(500), tmp_path).problems == []
    assert len(list(records(tmp_path))) == 500


def test_machines_that_go_do_not_end_the_run_and_the_outcome_counts(tmp_path: Path) -> None:
    class Spot(Scripted):
        num_gone = 0

        def give(self, worker: str, lease: Lease) -> None:
            if self.num_gone == 3 * MAX_FRUITLESS_LOSSES:
                return super().give(worker, lease)
            self.num_gone += 1
            self._events += (Lost(worker, "gone", is_with_machine=True), Joined(worker))

    outcome = drive(Spot(lambda worker, item: True), items(50), tmp_path)
    assert outcome.problems == []
    assert outcome.num_losses == 3 * MAX_FRUITLESS_LOSSES
    assert outcome.num_given > 50 and outcome.num_refused == 0
    assert len(answered(tmp_path)["t@s"]) == 50


def test_a_second_answer_to_a_sample_is_refused_and_counted(tmp_path: Path) -> None:
    class Twice(Scripted):
        def give(self, worker: str, lease: Lease) -> None:
            super().give(worker, lease)
            first = next(event for event in self._events if isinstance(event, Answered))
            self._events.appendleft(first)

    outcome = drive(Twice(lambda worker, item: True), items(5), tmp_path)
    assert outcome.num_refused == 1
    assert len(list(records(tmp_path))) == 5
