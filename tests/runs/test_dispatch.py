"""Leases: every sample is with one worker at a time, and none is forgotten."""

from __future__ import annotations

import random

import pytest

from vlmbench.runs.dispatch import MAX_LONE_LOSSES, MIN_LEASE, PIECES, Dispatcher, Lease
from vlmbench.runs.plan import Item


def items(count: int, per_group: int = 1, cost: float = 1.0) -> list[Item]:
    return [
        Item(task="t@s", index=n, id=str(n), image_group=str(n // per_group), cost=cost)
        for n in range(count)
    ]


def answer(dispatcher: Dispatcher, lease: Lease, count: int | None = None) -> None:
    for item in lease.items[:count]:
        assert dispatcher.answered(lease, item.task, item.id)


def test_an_only_worker_gets_all_in_one_lease() -> None:
    dispatcher = Dispatcher(items(1000))
    lease = dispatcher.lease(1)
    assert lease is not None and len(lease.items) == 1000
    assert dispatcher.lease(1) is None and not dispatcher.is_done
    answer(dispatcher, lease)
    dispatcher.finished(lease)
    assert dispatcher.is_done


def test_leases_shrink_from_half_a_fair_share_to_the_least() -> None:
    dispatcher = Dispatcher(items(1000))
    sizes = []
    while lease := dispatcher.lease(2):
        sizes.append(len(lease.items))
    assert sizes[0] == 250
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 1000 and min(sizes[:-1]) == MIN_LEASE


def test_few_samples_are_shared_by_all_workers() -> None:
    dispatcher = Dispatcher(items(16))
    sizes = [len(lease.items) for _ in range(4) if (lease := dispatcher.lease(4))]
    assert sizes == [2, 2, 2, 2]


def test_the_first_worker_to_join_leaves_the_others_theirs() -> None:
    lease = Dispatcher(items(8000)).lease(100)
    assert lease is not None and len(lease.items) == 40


def test_samples_that_share_pictures_are_in_one_lease() -> None:
    dispatcher = Dispatcher(items(1000, per_group=7))
    seen: dict[str, int] = {}
    while lease := dispatcher.lease(3):
        for item in lease.items:
            assert seen.setdefault(item.image_group, lease.number) == lease.number


def test_dear_samples_go_first() -> None:
    dear = [Item(task="t@s", index=9, id="dear", image_group="x", cost=50.0)]
    lease = Dispatcher(items(100) + dear).lease(2)
    assert lease is not None and lease.items[0].id == "dear"


def test_only_the_first_answer_to_a_sample_counts() -> None:
    dispatcher = Dispatcher(items(2))
    lease = dispatcher.lease(1)
    assert lease is not None
    assert dispatcher.answered(lease, "t@s", "0")
    assert not dispatcher.answered(lease, "t@s", "0")
    assert not dispatcher.answered(lease, "t@s", "of another lease")


def test_what_a_lost_worker_answered_stays_and_the_rest_comes_back_in_pieces() -> None:
    dispatcher = Dispatcher(items(100))
    lease = dispatcher.lease(1)
    assert lease is not None
    answer(dispatcher, lease, 20)
    assert dispatcher.lost(lease) is None
    assert dispatcher.num_left == 80
    pieces = []
    while piece := dispatcher.lease(1):
        pieces.append([item.id for item in piece.items])
    assert [len(piece) for piece in pieces] == [80 // PIECES] * PIECES
    assert sorted(id for piece in pieces for id in piece) == sorted(map(str, range(20, 100)))


def test_a_late_answer_of_a_lost_worker_is_refused() -> None:
    dispatcher = Dispatcher(items(2))
    lease = dispatcher.lease(1)
    assert lease is not None
    dispatcher.lost(lease)
    assert not dispatcher.answered(lease, "t@s", "0")


def test_a_deadly_sample_is_soon_alone_and_then_given_up() -> None:
    """Its worker dies each time it comes to it; all others are answered."""
    dispatcher = Dispatcher(items(500))
    losses, given_up = 0, None
    while lease := dispatcher.lease(1):
        for item in lease.items:
            if item.id == "123":
                losses += 1
                given_up = dispatcher.lost(lease) or given_up
                break
            assert dispatcher.answered(lease, item.task, item.id)
        else:
            dispatcher.finished(lease)
    assert dispatcher.is_done
    assert given_up is not None and given_up.id == "123"
    assert losses <= 3 + MAX_LONE_LOSSES


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_every_sample_is_answered_once(seed: int) -> None:
    rng = random.Random(seed)
    dispatcher = Dispatcher(items(rng.randint(1, 400), per_group=rng.randint(1, 5)))
    total, answered = dispatcher.num_left, set()
    open_leases: list[Lease] = []
    while not dispatcher.is_done:
        if lease := dispatcher.lease(rng.randint(1, 9)):
            open_leases.append(lease)
        lease = open_leases.pop(rng.randrange(len(open_leases)))
        is_lost = rng.random() < 0.4
        for item in lease.items[: rng.randint(1, len(lease.items)) if is_lost else None]:
            assert dispatcher.answered(lease, item.task, item.id)
            answered.add(item.id)
        if is_lost:
            assert dispatcher.lost(lease) is None
        else:
            dispatcher.finished(lease)
    assert len(answered) == total


def test_a_sample_is_not_to_blame_for_the_loss_of_a_machine() -> None:
    dispatcher = Dispatcher(items(1))
    for _ in range(3 * MAX_LONE_LOSSES):
        lease = dispatcher.lease(1)
        assert lease is not None
        assert dispatcher.lost(lease, is_with_machine=True) is None
    assert dispatcher.num_left == 1
