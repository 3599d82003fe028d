"""Rows are taken once at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idefics2.engine.slots import Slots


@given(st.integers(1, 6), st.lists(st.integers(-1, 5), max_size=40))
def test_no_slot_is_taken_twice_and_compaction_fills_the_gaps(
    number: int, actions: list[int]
) -> None:
    """An action from 0 on gives that slot back if it is taken; -1 takes one if one is free."""
    slots = Slots(number)
    taken: set[int] = set()
    for action in actions:
        if action in taken:
            slots.give_back(action)
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
    slots = Slots(1)
    assert slots.take() == 0
    with pytest.raises(IndexError):
        slots.take()
    slots.give_back(0)
    with pytest.raises(KeyError):
        slots.give_back(0)
