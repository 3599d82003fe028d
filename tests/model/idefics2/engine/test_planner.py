"""The plan: everybody once, in an order of its own, next to whom they have most in common with."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idefics2.engine.planner import (
    RELATED,
    SMALLEST_ROOM,
    Outline,
    common,
    keys,
    picture_numbers,
    plan,
)

prompts = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=12), max_size=12)


def outlines(prompts: Sequence[Sequence[int]], num_new: int = 2) -> list[Outline]:
    return [
        Outline(id=f"{index:03d}", keys=tuple(keys), num_new=num_new)
        for index, keys in enumerate(prompts)
    ]


def described(outlines: Sequence[Outline]) -> list[tuple[str, int, int]]:
    """The plan by the requests' own names."""
    return [
        (outlines[leaf.index].id, leaf.shared, one.room)
        for one in plan(outlines)
        for leaf in one.leaves
    ]


@given(prompts, st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_arrival(
    prompts: list[list[int]], dice: random.Random
) -> None:
    arrived = outlines(prompts)
    shuffled = dice.sample(arrived, len(arrived))
    assert described(shuffled) == described(arrived)


@given(prompts)
def test_each_prompt_comes_once_and_shares_all_it_can_with_the_one_before(
    prompts: list[list[int]],
) -> None:
    leaves = [leaf for one in plan(outlines(prompts)) for leaf in one.leaves]
    assert sorted(leaf.index for leaf in leaves) == list(range(len(prompts)))
    for place, leaf in enumerate(leaves):
        before = [common(prompts[other.index], prompts[leaf.index]) for other in leaves[:place]]
        most = min(max(before, default=0), len(prompts[leaf.index]) - 1)
        assert leaf.shared == most, "nobody before it has more in common"


@given(prompts)
def test_no_beginning_is_left_and_taken_up_again(prompts: list[list[int]]) -> None:
    """So a prefix may be dropped after its last user."""
    ordered = [prompts[leaf.index] for one in plan(outlines(prompts)) for leaf in one.leaves]
    for length in range(1, 12):
        beginnings = [tuple(keys[:length]) for keys in ordered if len(keys) >= length]
        changes = [b for a, b in zip([None, *beginnings], beginnings, strict=False) if a != b]
        assert len(changes) == len(set(changes))


def test_equal_ids_about_different_pictures_are_different_keys() -> None:
    ids, places = (1, 5, 5, 5, 7), (1, 2, 3)
    numbers = picture_numbers([("1", "red"), ("1", "blue"), ("2", "red")])
    one = keys(ids, places, [("red", 3)], numbers)
    other = keys(ids, places, [("blue", 3)], numbers)
    both = keys(ids, places, [("red", 2), ("blue", 1)], numbers)
    assert common(one, other) == 1
    assert common(one, both) == 3
    assert one == keys(ids, places, [("red", 2), ("red", 1)], numbers)


def test_pictures_are_numbered_as_their_first_requests_are_named() -> None:
    uses = [("03", "a"), ("01", "z"), ("02", "m"), ("02", "b"), ("09", "z")]
    expected = {"z": -1, "b": -2, "m": -3, "a": -4}
    assert picture_numbers(uses) == expected == picture_numbers(uses[::-1])


def test_long_answers_wait_for_rows_of_their_own_unless_they_share_much() -> None:
    short, long = SMALLEST_ROOM // 4, 2 * SMALLEST_ROOM
    start = tuple(range(RELATED))
    requests = [
        Outline(id="0", keys=(1, 2), num_new=short),
        Outline(id="1", keys=(1, 3), num_new=long),
        Outline(id="2", keys=(*start, 7), num_new=short),
        Outline(id="3", keys=(*start, 8), num_new=long),
        Outline(id="4", keys=(9,), num_new=short),
    ]
    first, second = plan(requests)
    assert (first.room, second.room) == (SMALLEST_ROOM, 4 * SMALLEST_ROOM)
    assert [leaf.index for leaf in first.leaves] == [0, 4]
    assert [leaf.index for leaf in second.leaves] == [2, 3, 1]


@pytest.mark.parametrize(
    ("length", "num_new", "room"),
    [(1, 1, 256), (200, 56, 256), (200, 57, 512), (1000, 24, 1024)],
)
def test_a_row_holds_prompt_and_answer(length: int, num_new: int, room: int) -> None:
    [one] = plan([Outline(id="", keys=(1,) * length, num_new=num_new)])
    assert one.room == room


def test_with_a_fixed_cut_prompts_share_what_is_before_it_or_nothing() -> None:
    def outline(id: str, keys: tuple[int, ...], cut: int) -> Outline:
        return Outline(id=id, keys=keys, num_new=1, cut=cut)

    requests = [
        outline("0", (1, -1, -1, 4, 5), 3),
        outline("1", (1, -1, -1, 4, 6), 3),
        outline("2", (1, -1, -1, 4, -2, 6), 5),
        outline("3", (1, 7, 8), 0),
        outline("4", (1, 7, 9), 0),
    ]
    leaves = [leaf for one in plan(requests) for leaf in one.leaves]
    assert {requests[leaf.index].id: leaf.shared for leaf in leaves} == {
        "2": 0,  # is cut elsewhere
        "0": 0,
        "1": 3,
        "3": 0,
        "4": 0,
    }


def test_only_answers_of_more_than_a_token_need_a_row() -> None:
    requests = [
        Outline(id="0", keys=(1,), num_new=1),
        Outline(id="1", keys=(2,), num_new=2),
        Outline(id="2", keys=(3,), num_new=9, branches=(0, 8)),
    ]
    [one] = plan(requests)
    assert [leaf.goes_on for leaf in one.leaves] == [False, True, False]
