"""The plan: each prompt once, next to the one that it shares the longest prefix with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idefics2.engine.planner import (
    RELATED,
    SMALLEST_BUCKET,
    PlannedPrompt,
    common,
    image_numbers,
    plan,
    prefix_keys,
)

prompts = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=12), max_size=12)


def prompt(
    index: int, keys: Sequence[int], max_new_tokens: int = 2, **others: Any
) -> PlannedPrompt:
    return PlannedPrompt(
        index=index, id=f"{index:03d}", keys=tuple(keys), max_new_tokens=max_new_tokens, **others
    )


def planned(prompts: Sequence[PlannedPrompt]) -> list[PlannedPrompt]:
    return [prompt for bucket in plan(prompts) for prompt in bucket.prompts]


def described(prompts: Sequence[PlannedPrompt]) -> list[tuple[str, int, int]]:
    """The plan by the requests' own names."""
    return [
        (prompt.id, prompt.num_shared, bucket.slot_tokens)
        for bucket in plan(prompts)
        for prompt in bucket.prompts
    ]


@given(prompts, st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_arrival(
    prompts: list[list[int]], dice: random.Random
) -> None:
    arrived = [prompt(index, keys) for index, keys in enumerate(prompts)]
    shuffled = dice.sample(arrived, len(arrived))
    assert described(shuffled) == described(arrived)


@given(prompts)
def test_each_prompt_comes_once_and_shares_all_it_can_with_the_one_before(
    prompts: list[list[int]],
) -> None:
    ordered = planned([prompt(index, keys) for index, keys in enumerate(prompts)])
    assert sorted(one.index for one in ordered) == list(range(len(prompts)))
    for place, one in enumerate(ordered):
        before = [common(other.keys, one.keys) for other in ordered[:place]]
        most = min(max(before, default=0), one.length - 1)
        assert one.num_shared == most, "nobody before it has more in common"


@given(prompts)
def test_no_prefix_is_left_and_taken_up_again(prompts: list[list[int]]) -> None:
    """So a prefix may be dropped after its last user."""
    ordered = planned([prompt(index, keys) for index, keys in enumerate(prompts)])
    for length in range(1, 12):
        prefixes = [one.keys[:length] for one in ordered if one.length >= length]
        changes = [b for a, b in zip([None, *prefixes], prefixes, strict=False) if a != b]
        assert len(changes) == len(set(changes))


def test_equal_ids_about_different_images_are_different_keys() -> None:
    ids, places = (1, 5, 5, 5, 7), (1, 2, 3)
    numbers = image_numbers([("1", "red"), ("1", "blue"), ("2", "red")])
    one = prefix_keys(ids, places, [("red", 3)], numbers)
    other = prefix_keys(ids, places, [("blue", 3)], numbers)
    both = prefix_keys(ids, places, [("red", 2), ("blue", 1)], numbers)
    assert common(one, other) == 1
    assert common(one, both) == 3
    assert one == prefix_keys(ids, places, [("red", 2), ("red", 1)], numbers)


def test_images_are_numbered_as_their_first_requests_are_named() -> None:
    uses = [("03", "a"), ("01", "z"), ("02", "m"), ("02", "b"), ("09", "z")]
    expected = {"z": -1, "b": -2, "m": -3, "a": -4}
    assert image_numbers(uses) == expected == image_numbers(uses[::-1])


def test_long_answers_wait_for_slots_of_their_own_unless_they_share_much() -> None:
    short, long = SMALLEST_BUCKET // 4, 2 * SMALLEST_BUCKET
    start = tuple(range(RELATED))
    first, second = plan(
        [
            prompt(0, (1, 2), short),
            prompt(1, (1, 3), long),
            prompt(2, (*start, 7), short),
            prompt(3, (*start, 8), long),
            prompt(4, (9,), short),
        ]
    )
    assert (first.slot_tokens, second.slot_tokens) == (SMALLEST_BUCKET, 4 * SMALLEST_BUCKET)
    assert [one.index for one in first.prompts] == [0, 4]
    assert [one.index for one in second.prompts] == [2, 3, 1]


@pytest.mark.parametrize(
    ("length", "max_new_tokens", "slot_tokens"),
    [(1, 1, 256), (200, 56, 256), (200, 57, 512), (1000, 24, 1024)],
)
def test_a_slot_holds_prompt_and_answer(length: int, max_new_tokens: int, slot_tokens: int) -> None:
    [bucket] = plan([prompt(0, (1,) * length, max_new_tokens)])
    assert bucket.slot_tokens == slot_tokens


def test_with_a_fixed_cut_prompts_share_what_is_before_it_or_nothing() -> None:
    prompts = [
        prompt(0, (1, -1, -1, 4, 5), cut=3),
        prompt(1, (1, -1, -1, 4, 6), cut=3),
        prompt(2, (1, -1, -1, 4, -2, 6), cut=5),
        prompt(3, (1, 7, 8), cut=0),
        prompt(4, (1, 7, 9), cut=0),
    ]
    assert {one.index: one.num_shared for one in planned(prompts)} == {
        2: 0,  # is cut elsewhere
        0: 0,
        1: 3,
        3: 0,
        4: 0,
    }


def test_only_answers_of_more_than_a_token_need_a_slot() -> None:
    prompts = [prompt(0, (1,), 1), prompt(1, (2,), 2), prompt(2, (3,), 9, branches=(0, 8))]
    assert [one.needs_slot for one in planned(prompts)] == [False, True, False]
