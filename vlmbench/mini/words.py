"""Words, names and numbers that pictures show, divided in two parts."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from vlmbench.mini.scenes import Part

_LIST = Path(__file__).with_name("words.txt")
"""BIP-39's English list: 2,048 words of 3 to 8 letters (MIT licence, Trezor)."""

_TEST_SHARE = 6
"""Every so manieth word is of the test part."""


@cache
def words(part: Part) -> tuple[str, ...]:
    """Lower-case English words; 341 of 2,048 are the test part's."""
    return divided(tuple(_LIST.read_text("ascii").split()), part)


def divided(items: tuple[str, ...], part: Part) -> tuple[str, ...]:
    """The part's share of any list: one in six is the test part's."""
    return tuple(
        item
        for i, item in enumerate(items)
        if (i % _TEST_SHARE == _TEST_SHARE - 1) == (part == "test")
    )


def number(rng: random.Random, part: Part, low: int, high: int) -> int:
    """A whole number from low to high; every sixth number is of the test part.

    Raises: ValueError where the range has none of the part.
    """
    is_test = part == "test"
    choices = [n for n in range(low, high + 1) if (n % _TEST_SHARE == _TEST_SHARE - 1) == is_test]
    if not choices:
        raise ValueError(f"no number of the {part} part from {low} to {high}")
    return rng.choice(choices)
