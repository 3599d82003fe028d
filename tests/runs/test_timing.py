"""When latency is measured in a run of several workers, and which samples are taken for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest

from vlmbench.runs.dispatch import Lease
from vlmbench.runs.drive import drive
from vlmbench.runs.executors.protocol import Answered, Event, Finished, Joined, Lost, Measured
from vlmbench.runs.folder import responses, single_stream
from vlmbench.runs.folder.costs import Place
from vlmbench.runs.folder.single_stream import SingleStreamRecord, median_interval
from vlmbench.runs.job import lease_from_json, lease_to_json
from vlmbench.runs.plan import Item, Timed
from vlmbench.runs.stopwatch import LEAST, MOST, SECONDS, timed
from vlmbench.runs.timing import Timing
from vlmbench.schema import Response

HERE = Place(device="cpu")


def items(count: int, task: str = "t@s") -> list[Item]:
    return [
        Item(task=task, index=n, id=str(n), image_group=str(n // 2), cost=1.0) for n in range(count)
    ]


def chosen(task: str, count: int) -> Timed:
    return Timed(task=task, warmups=(), items=tuple(items(count, task)), least=count, seconds=None)


def measured_line(item: Item, latency_s: float = 0.5, place: Place = HERE) -> bytes:
    return single_stream.encoded(
        item.task,
        item.id,
        Response(id=item.id, text="yes", finish_reason="stop"),
        latency_s=latency_s,
        place=place,
        peak_device_memory_bytes=None,
        prompt="",
        worker="0",
        time=1.0,
    )


class Workers:
    """An executor whose workers answer, or measure, at once what they are given."""

    def __init__(self, names: str, *, can_measure: bool = True, is_mortal: bool = False) -> None:
        self._events: deque[Event] = deque(Joined(name) for name in names)
        self._can_measure, self._is_mortal = can_measure, is_mortal
        self.num_expected = len(names)
        self.given: list[tuple[str, Lease]] = []

    def wait(self, timeout_s: float) -> Sequence[Event]:
        return [self._events.popleft()] if self._events else []

    def give(self, worker: str, lease: Lease) -> None:
        self.given.append((worker, lease))
        for item in lease.items:
            response = Response(id=item.id, text="yes", finish_reason="stop")
            line = responses.encoded(item.task, item.id, response, worker=worker, time=1.0)
            self._events.append(Answered(worker, line))
        if lease.timed is not None and self._is_mortal:
            self._events += (Lost(worker, "signal 9"), Joined(worker))
            return
        for item in lease.timed.items if lease.timed and self._can_measure else ():
            self._events.append(Measured(worker, measured_line(item)))
        self._events.append(Finished(worker))

    def drop(self, worker: str) -> None:
        raise AssertionError(worker)

    def close(self, *, is_at_once: bool) -> Sequence[Event]:
        return []


@pytest.mark.parametrize("is_first", [False, True])
def test_one_worker_measures_while_the_others_are_idle(tmp_path: Path, is_first: bool) -> None:
    workers = Workers("012")
    left = [chosen("t@s", 3), chosen("u@s", 2)]
    timing = Timing(tmp_path, lambda: left, is_first=is_first)
    assert drive(workers, items(100), tmp_path, timing=timing).problems == []
    kinds = [lease.timed is not None for _, lease in workers.given]
    assert kinds == sorted(kinds, reverse=is_first) and sum(kinds) == 2
    for _, lease in workers.given:
        assert lease.timed is None or lease.timed.num_idle_workers == 2
    assert [record.task for record in single_stream.read(tmp_path)] == ["t@s"] * 3 + ["u@s"] * 2
    assert len(responses.answered(tmp_path)["t@s"]) == 100


def test_an_executor_that_measures_nothing_costs_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timing = Timing(tmp_path, lambda: [chosen("t@s", 3)], is_first=False)
    outcome = drive(Workers("0", can_measure=False), items(9), tmp_path, timing=timing)
    assert outcome.problems == [] and len(responses.answered(tmp_path)["t@s"]) == 9
    assert "latency of t@s was not measured" in capsys.readouterr().err


def test_a_worker_that_dies_measuring_is_not_asked_for_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = Workers("01", is_mortal=True)
    timing = Timing(tmp_path, lambda: [chosen("t@s", 3), chosen("u@s", 3)], is_first=False)
    assert drive(workers, items(9), tmp_path, timing=timing).problems == []
    assert sum(lease.timed is not None for _, lease in workers.given) == 2
    said = capsys.readouterr().err
    assert "latency of u@s was not measured whole: worker 1 died (signal 9)" in said


def test_a_lease_crosses_to_a_worker_whole() -> None:
    one = chosen("t@s", 2)
    assert lease_from_json(lease_to_json(Lease(7, (), one))).timed == one
    plain = lease_from_json(lease_to_json(Lease(7, tuple(items(2)))))
    assert [(item.task, item.id) for item in plain.items] == [("t@s", "0"), ("t@s", "1")]


def record(id: str, latency_s: float) -> SingleStreamRecord:
    return SingleStreamRecord(
        task="t@s", id=id, response="x", finish_reason="stop", latency_s=latency_s, place=HERE
    )


def of(count: int, *, number: int | None = None, is_first: bool = False) -> Timed:
    every = items(count)
    has = () if is_first else {item.id for item in every}
    [one] = timed(every, {}, {"t@s": has}, number=number, is_first=is_first)
    return one


@pytest.mark.parametrize(
    ("count", "least", "most"),
    [(1, 1, 1), (5, 5, 5), (20, 8, 8), (100, LEAST, 25), (10_000, LEAST, MOST)],
)
def test_how_many_are_measured_by_default(count: int, least: int, most: int) -> None:
    one = of(count)
    assert (one.least, len(one.items), one.seconds) == (least, most, SECONDS)
    assert one.warmups


def test_a_number_that_is_asked_for_is_measured_whatever_time_it_takes() -> None:
    one = of(100, number=40)
    assert (one.least, len(one.items), one.seconds) == (40, 40, None)
    assert len(of(10, number=40).items) == 10


def test_which_are_measured_does_not_depend_on_the_run() -> None:
    few = [item.id for item in of(40, number=8).items]
    [shuffled] = timed(
        items(40)[::-1], {}, {"t@s": {str(n) for n in range(40)}}, number=8, is_first=False
    )
    assert few == [item.id for item in shuffled.items]
    assert len({item.image_group for item in of(40, number=20).items}) == 20


def test_a_server_is_asked_what_it_has_not_seen() -> None:
    one = of(10, is_first=True)
    assert len(one.items) == 8 and not {*one.items} & {*one.warmups}
    [again] = timed(items(10), {}, {"t@s": {"0", "1", "2"}}, number=None, is_first=True)
    assert not {item.id for item in (*again.items, *again.warmups)} & {"0", "1", "2"}


def test_only_samples_with_an_answer_are_measured() -> None:
    [one] = timed(items(10), {}, {"t@s": {"3", "4"}}, number=None, is_first=False)
    assert {item.id for item in one.items} == {"3", "4"}
    assert timed(items(10), {}, {}, number=None, is_first=False) == []


def test_a_minute_ends_it_once_enough_are_measured() -> None:
    has = {"t@s": {str(n) for n in range(400)}}
    order = [item.id for item in of(400).items]
    slow = {id: record(id, 4.0) for id in order[:15]}
    [more] = timed(items(400), {"t@s": slow}, has, number=None, is_first=False)
    assert sum(more.done.values()) == 60 and more.least == 16
    slow[order[15]] = record(order[15], 4.0)
    assert timed(items(400), {"t@s": slow}, has, number=None, is_first=False) == []


def test_records_of_another_place_do_not_count(tmp_path: Path) -> None:
    places = [Place(device="cpu"), Place(device="cpu"), Place(device="NVIDIA L4")]
    for item, place in zip(items(3), places, strict=True):
        single_stream.append(tmp_path, measured_line(item, place=place))
    last = single_stream.of_last_place(single_stream.read(tmp_path))
    assert [*last["t@s"]] == ["2"]


@pytest.mark.parametrize(
    ("n", "expected"),
    [(5, None), (6, (1, 6)), (8, (1, 8)), (20, (6, 15)), (64, (24, 41))],
)
def test_the_interval_of_a_median_is_that_of_the_binomial_tables(
    n: int, expected: tuple[int, int] | None
) -> None:
    """Conover, 1999, and R's `binom.test`: ranks with at least 95 % between them."""
    assert median_interval([float(rank) for rank in range(1, n + 1)]) == expected
