"""The plan: every item once, groups whole, loads balanced, the same on every machine."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.runs.plan import Item, assign


def item(index: int, group: int, cost: float = 1.0, task: str = "vqav2@validation") -> Item:
    return Item(task=task, index=index, id=str(index), image_group=str(group), cost=cost)


ITEMS = st.lists(st.tuples(st.integers(0, 12), st.floats(0.1, 100)), max_size=60).map(
    lambda pairs: [item(index, group, cost) for index, (group, cost) in enumerate(pairs)]
)


@given(ITEMS, st.integers(1, 5))
def test_every_item_is_assigned_once_and_groups_stay_whole(items: list[Item], workers: int) -> None:
    shares = assign(items, workers)
    assert len(shares) == workers
    assert sorted(i.index for share in shares for i in share) == [i.index for i in items]
    homes = {(i.image_group, number) for number, share in enumerate(shares) for i in share}
    assert len(homes) == len({i.image_group for i in items})


@given(ITEMS, st.integers(1, 5), st.integers(0, 2**32))
def test_the_plan_does_not_depend_on_the_order_of_items(
    items: list[Item], workers: int, seed: int
) -> None:
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    assert assign(shuffled, workers) == assign(items, workers)


@given(ITEMS, st.integers(1, 5))
def test_no_worker_has_more_than_a_group_above_the_least_loaded(
    items: list[Item], workers: int
) -> None:
    loads = [sum(i.cost for i in share) for share in assign(items, workers)]
    groups: dict[str, float] = {}
    for i in items:
        groups[i.image_group] = groups.get(i.image_group, 0) + i.cost
    assert max(loads) - min(loads) <= max(groups.values(), default=0) + 1e-6


def test_dear_groups_run_first() -> None:
    shares = assign([item(0, 0, 1), item(1, 1, 9), item(2, 1, 9), item(3, 2, 5)], 1)
    assert [i.index for i in shares[0]] == [1, 2, 3, 0]


def test_equal_groups_of_two_tasks_are_two_groups() -> None:
    items = [item(0, 7), item(0, 7, task="textvqa@validation")]
    assert [len(share) for share in assign(items, 2)] == [1, 1]


def test_no_workers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        assign([], 0)
