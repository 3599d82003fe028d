"""Every prompt is read once, from tokens that are really there, within the limits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idefics2.engine.planner import Leaf, Outline, plan
from idefics2.engine.scheduler import REFILL, Scheduler, Step

Keys = tuple[int, ...]


def leaves_of(prompts: Sequence[Keys], num_new: int = 2, cuts: bool = False) -> list[Leaf]:
    outlines = [
        Outline(
            id=f"{index:03d}",
            keys=keys,
            num_new=num_new if index % 4 else 1,
            branches=(2, 0) if index % 7 == 3 else (),
            cut=min(len(keys) - 1, 4) if cuts else None,
        )
        for index, keys in enumerate(prompts)
    ]
    return [leaf for one in plan(outlines) for leaf in one.leaves]


class Device:
    """Holds what a step leaves behind: whose tokens are in the trunk."""

    def __init__(self, prompts: Sequence[Keys]) -> None:
        self.prompts = prompts
        self.trunk: Keys = ()
        self.read: dict[int, int] = {}

    def do(self, step: Step) -> None:
        """Reads a step's spans, each behind tokens that are its own prompt's."""
        assert step.trunk <= len(self.trunk)
        path = self.trunk[: step.trunk]
        for span in step.spans:
            keys = self.prompts[span.leaf.index]
            assert path[: span.start] == keys[: span.start], "begins behind another's tokens"
            assert span.start < span.stop <= len(keys)
            path = keys[: span.stop]
            if span.is_last:
                self.read[span.leaf.index] = self.read.get(span.leaf.index, 0) + 1
        assert step.keep <= len(path)
        self.trunk = path[: step.keep]


def finished(scheduler: Scheduler, dice: random.Random, taken: set[int]) -> None:
    """Some answers are complete."""
    for slot in sorted(taken):
        if dice.random() < 0.4:
            scheduler.finish(slot)
            taken.remove(slot)


prompts = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=10).map(tuple), min_size=1, max_size=16
)


@given(prompts, st.integers(1, 5), st.integers(1, 30), st.booleans(), st.integers(0, 999))
def test_every_leaf_is_read_once_or_dropped_whatever_happens(
    prompts: list[Keys], num_slots: int, step_tokens: int, one_by_one: bool, seed: int
) -> None:
    """Answers end at random, prompts turn out to be broken, steps come to nothing."""
    dice = random.Random(seed)
    leaves = leaves_of(prompts, cuts=one_by_one)
    scheduler = Scheduler(leaves, num_slots, step_tokens, one_by_one=one_by_one)
    device = Device(prompts)
    taken: set[int] = set()
    dropped: set[int] = set()
    for _ in range(10_000):
        if scheduler.wants_to_read:
            while (span := scheduler.offer()) is not None:
                if dice.random() < 0.1:
                    scheduler.drop()
                    dropped.add(span.leaf.index)
                else:
                    scheduler.accept()
            step = scheduler.close()
            if step is None:
                continue
            assert len(step.spans) == 1 or not one_by_one
            num_tokens = sum(span.num_tokens for span in step.spans)
            assert num_tokens <= step_tokens or len(step.spans) == 1
            if dice.random() < 0.1:
                scheduler.rewind(step)
                assert scheduler.running == taken
                continue
            device.do(step)
            new = [span.slot for span in step.spans if span.slot is not None]
            assert len(set(new)) == len(new) and not set(new) & taken
            assert all(slot < num_slots for slot in new)
            taken |= set(new)
        elif scheduler.running:
            for source, target in scheduler.compact():
                taken.remove(source)
                taken.add(target)
            assert taken == set(range(len(taken)))
            finished(scheduler, dice, taken)
        else:
            break
        assert scheduler.running == taken
    assert scheduler.running == set()
    assert not dropped & set(device.read)
    assert dropped | set(device.read) == set(range(len(prompts)))
    assert set(device.read.values()) <= {1}


def run(scheduler: Scheduler) -> Iterator[Step]:
    """Steps, each answer ending after the next one."""
    while scheduler.wants_to_read or scheduler.running:
        if not scheduler.wants_to_read:
            for slot in scheduler.running:
                scheduler.finish(slot)
            continue
        while scheduler.offer() is not None:
            scheduler.accept()
        step = scheduler.close()
        assert step is not None
        yield step


def test_a_step_that_is_read_again_shares_nothing_with_a_leaf_dropped_from_it() -> None:
    prompts = [(1, 2, 5, 5), (1, 2, 9, 9, 9, 3), (1, 2, 9, 9, 9, 4)]
    scheduler, device = Scheduler(leaves_of(prompts), 8, 100), Device(prompts)
    scheduler.accept()
    scheduler.drop()
    scheduler.accept()
    step = scheduler.close()
    assert step is not None
    scheduler.rewind(step)
    scheduler.accept()
    scheduler.accept()
    again = scheduler.close()
    assert again is not None
    device.do(again)
    assert set(device.read) == {0, 2}


@pytest.mark.parametrize("num_slots", [1, 2, 3, 50])
def test_a_prefix_is_read_once_even_if_its_users_come_in_many_steps(num_slots: int) -> None:
    prompts = [(1, 2, 3, 4, number) for number in range(9)]
    steps = list(run(Scheduler(leaves_of(prompts), num_slots, 100)))
    num_read = sum(span.stop - span.start for step in steps for span in step.spans)
    assert num_read == 4 + 9


def test_a_freed_row_is_taken_in_the_next_step() -> None:
    leaves = [leaf for leaf in leaves_of([(n,) for n in range(40)]) if leaf.goes_on]
    scheduler = Scheduler(leaves, REFILL, 100)
    while scheduler.offer() is not None:
        scheduler.accept()
    scheduler.close()
    assert scheduler.running == set(range(REFILL))
    assert not scheduler.wants_to_read
    scheduler.finish(2)
    assert scheduler.wants_to_read
    scheduler.accept()
    step = scheduler.close()
    assert step is not None and [span.slot for span in step.spans] == [2]


def test_the_last_prompts_wait_for_no_more_rows_than_they_need() -> None:
    leaves = [leaf for leaf in leaves_of([(n,) for n in range(60)]) if leaf.goes_on][:33]
    scheduler = Scheduler(leaves, 32, 1000)
    while scheduler.offer() is not None:
        scheduler.accept()
    scheduler.close()
    scheduler.finish(5)
    assert scheduler.wants_to_read


def test_one_by_one_a_prompt_is_read_in_two_parts_of_its_own() -> None:
    prompts = [(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 7), (8, 2, 3, 4, 7)]
    steps = list(run(Scheduler(leaves_of(prompts, cuts=True), 4, 100, one_by_one=True)))
    spans = [span for step in steps for span in step.spans]
    assert [(span.leaf.index, span.start, span.stop) for span in spans] == [
        (0, 0, 4),
        (0, 4, 6),
        (1, 4, 5),
        (2, 0, 4),
        (2, 4, 5),
    ]
