"""Words and numbers that pictures show, divided between train and test part."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import TypeVar

from vlmbench.data.mini.scenes import Part

Item = TypeVar("Item")

_LIST = Path(__file__).with_name("words.txt")
"""BIP-39's English list: 2,048 words of 3 to 8 letters (MIT licence, Trezor)."""

_TEST_SHARE = 6
"""One word in so many is of the test part."""


_NUM_MADE = 20_000
"""Made-up words."""


@cache
def words(part: Part) -> tuple[str, ...]:
    """Lower-case English words; 341 of 2,048 are the test part's. To practise: made-up ones."""
    if part == "practice":
        return _made_up()
    return divided(_listed(), part)


@cache
def _listed() -> tuple[str, ...]:
    return tuple(_LIST.read_text("ascii").split())


def _made_up() -> tuple[str, ...]:
    """Letters that follow one another as in the train part's words, two by two; no listed word."""
    rng = random.Random("made-up words")
    following: dict[str, list[str]] = {}
    for word in words("train"):
        padded = f"  {word} "
        for i in range(2, len(padded)):
            following.setdefault(padded[i - 2 : i], []).append(padded[i])
    listed, made = set(_listed()), dict[str, None]()
    while len(made) < _NUM_MADE:
        word = "  "
        while not word.endswith(" ") or len(word) == 2:
            word += rng.choice(following[word[-2:]])
        word = word.strip()
        if 3 <= len(word) <= 8 and word not in listed:
            made[word] = None
    return tuple(made)


def divided(items: tuple[Item, ...], part: Part) -> tuple[Item, ...]:
    """A part's share of any list: one item in six is the test part's."""
    every_sixth = slice(_TEST_SHARE - 1, None, _TEST_SHARE)
    if part == "test":
        return items[every_sixth]
    kept = list(items)
    del kept[every_sixth]
    return tuple(kept)


def number(rng: random.Random, part: Part, low: int, high: int) -> int:
    """A whole number from low to high; every sixth number is of the test part.

    Raises: ValueError where the range has none of the part.
    """
    first = low + (_TEST_SHARE - 1 - low) % _TEST_SHARE  # the test part's first
    if first > high if part == "test" else first == low == high:
        raise ValueError(f"no number of the {part} part from {low} to {high}")
    if part == "test":
        return rng.randrange(first, high + 1, _TEST_SHARE)
    while (n := rng.randint(low, high)) % _TEST_SHARE == _TEST_SHARE - 1:
        pass
    return n
