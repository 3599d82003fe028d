"""Every prompt is prefilled once, from tokens that are really there, within the limits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idefics2.engine.planner import PlannedPrompt, plan
from idefics2.engine.scheduler import REFILL, PrefillStep, Scheduler, SlotPool

Keys = tuple[int, ...]


def planned_of(
    prompts: Sequence[Keys], max_new_tokens: int = 2, cuts: bool = False
) -> list[PlannedPrompt]:
    prepared = [
        PlannedPrompt(
            index=index,
            id=f"{index:03d}",
            keys=keys,
            max_new_tokens=max_new_tokens if index % 4 else 1,
            branches=(2, 0) if index % 7 == 3 else (),
            cut=min(len(keys) - 1, 4) if cuts else None,
        )
        for index, keys in enumerate(prompts)
    ]
    return [prompt for bucket in plan(prepared) for prompt in bucket.prompts]


class Device:
    """Holds what a step planned behind: whose tokens are in the prefix slot."""

    def __init__(self, prompts: Sequence[Keys]) -> None:
        self.prompts = prompts
        self.prefix: Keys = ()
        self.prefilled: dict[int, int] = {}

    def do(self, step: PrefillStep) -> None:
        """Computes a step's chunks, each behind tokens that are its own prompt's."""
        assert step.num_prefix <= len(self.prefix)
        path = self.prefix[: step.num_prefix]
        for chunk in step.chunks:
            keys = self.prompts[chunk.prompt.index]
            assert path[: chunk.start] == keys[: chunk.start], "begins behind another's tokens"
            assert chunk.start < chunk.stop <= len(keys)
            path = keys[: chunk.stop]
            if chunk.is_last:
                self.prefilled[chunk.prompt.index] = self.prefilled.get(chunk.prompt.index, 0) + 1
        assert step.num_kept <= len(path)
        self.prefix = path[: step.num_kept]


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
def test_every_prompt_is_prefilled_once_or_dropped_whatever_happens(
    prompts: list[Keys], num_slots: int, prefill_tokens: int, one_by_one: bool, seed: int
) -> None:
    """Answers end at random, prompts turn out to be broken, steps come to nothing."""
    dice = random.Random(seed)
    planned = planned_of(prompts, cuts=one_by_one)
    scheduler = Scheduler(planned, num_slots, prefill_tokens, one_by_one=one_by_one)
    device = Device(prompts)
    taken: set[int] = set()
    dropped: set[int] = set()
    for _ in range(10_000):
        if scheduler.should_prefill:
            while (chunk := scheduler.next_chunk()) is not None:
                if dice.random() < 0.1:
                    scheduler.drop()
                    dropped.add(chunk.prompt.index)
                else:
                    scheduler.admit()
            step = scheduler.close_step()
            if step is None:
                continue
            assert len(step.chunks) == 1 or not one_by_one
            num_tokens = sum(chunk.num_tokens for chunk in step.chunks)
            assert num_tokens <= prefill_tokens or len(step.chunks) == 1
            if dice.random() < 0.1:
                scheduler.requeue(step)
                assert scheduler.running == taken
                continue
            device.do(step)
            new = [chunk.slot for chunk in step.chunks if chunk.slot is not None]
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
    assert not dropped & set(device.prefilled)
    assert dropped | set(device.prefilled) == set(range(len(prompts)))
    assert set(device.prefilled.values()) <= {1}


def run(scheduler: Scheduler) -> Iterator[PrefillStep]:
    """Steps, each answer ending after the next one."""
    while scheduler.should_prefill or scheduler.running:
        if not scheduler.should_prefill:
            for slot in scheduler.running:
                scheduler.finish(slot)
            continue
        while scheduler.next_chunk() is not None:
            scheduler.admit()
        step = scheduler.close_step()
        assert step is not None
        yield step


def test_a_step_that_is_repeated_shares_nothing_with_a_prompt_dropped_from_it() -> None:
    prompts = [(1, 2, 5, 5), (1, 2, 9, 9, 9, 3), (1, 2, 9, 9, 9, 4)]
    scheduler, device = Scheduler(planned_of(prompts), 8, 100), Device(prompts)
    scheduler.admit()
    scheduler.drop()
    scheduler.admit()
    step = scheduler.close_step()
    assert step is not None
    scheduler.requeue(step)
    scheduler.admit()
    scheduler.admit()
    again = scheduler.close_step()
    assert again is not None
    device.do(again)
    assert set(device.prefilled) == {0, 2}


@pytest.mark.parametrize("num_slots", [1, 2, 3, 50])
def test_a_prefix_is_prefilled_once_even_if_its_users_come_in_many_steps(num_slots: int) -> None:
    prompts = [(1, 2, 3, 4, number) for number in range(9)]
    steps = list(run(Scheduler(planned_of(prompts), num_slots, 100)))
    num_computed = sum(chunk.stop - chunk.start for step in steps for chunk in step.chunks)
    assert num_computed == 4 + 9


def test_a_freed_slot_is_taken_in_the_next_step() -> None:
    planned = [prompt for prompt in planned_of([(n,) for n in range(40)]) if prompt.needs_slot]
    scheduler = Scheduler(planned, REFILL, 100)
    while scheduler.next_chunk() is not None:
        scheduler.admit()
    scheduler.close_step()
    assert scheduler.running == set(range(REFILL))
    assert not scheduler.should_prefill
    scheduler.finish(2)
    assert scheduler.should_prefill
    scheduler.admit()
    step = scheduler.close_step()
    assert step is not None and [chunk.slot for chunk in step.chunks] == [2]


def test_the_last_prompts_wait_for_no_more_slots_than_they_need() -> None:
    planned = [prompt for prompt in planned_of([(n,) for n in range(60)]) if prompt.needs_slot][:33]
    scheduler = Scheduler(planned, 32, 1000)
    while scheduler.next_chunk() is not None:
        scheduler.admit()
    scheduler.close_step()
    scheduler.finish(5)
    assert scheduler.should_prefill


def test_one_by_one_a_prompt_is_prefilled_in_two_parts_of_its_own() -> None:
    prompts = [(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 7), (8, 2, 3, 4, 7)]
    steps = list(run(Scheduler(planned_of(prompts, cuts=True), 4, 100, one_by_one=True)))
    chunks = [chunk for step in steps for chunk in step.chunks]
    assert [(chunk.prompt.index, chunk.start, chunk.stop) for chunk in chunks] == [
        (0, 0, 4),
        (0, 4, 6),
        (1, 4, 5),
        (2, 0, 4),
        (2, 4, 5),
    ]


@given(st.integers(1, 6), st.lists(st.integers(-1, 5), max_size=40))
def test_no_slot_is_taken_twice_and_compaction_fills_the_gaps(
    number: int, actions: list[int]
) -> None:
    """An action from 0 on gives that slot back if it is taken; -1 takes one if one is free."""
    slots = SlotPool(number)
    taken: set[int] = set()
    for action in actions:
        if action in taken:
            slots.release(action)
            taken.remove(action)
        elif action < 0 and len(taken) < number:
            slot = slots.take()
            assert slot == min(set(range(number)) - taken), "the lowest that is free"
            taken.add(slot)
        assert slots.taken == taken
        assert slots.num_free == number - len(taken)
    moves = slots.compact()
    assert slots.taken == set(range(len(taken)))
    assert {source for source, _ in moves} == taken - slots.taken
    assert {target for _, target in moves} == slots.taken - taken
    assert slots.num_free == number - len(taken)


def test_mistakes_are_not_silent() -> None:
    slots = SlotPool(1)
    assert slots.take() == 0
    with pytest.raises(IndexError):
        slots.take()
    slots.release(0)
    with pytest.raises(KeyError):
        slots.release(0)
