"""The order in which prompts are read, so that what they have in common is read once.

A prompt is a sequence of keys: its token ids and, where a picture's slots are, a number below zero
that no other picture has, since two prompts about different pictures have the same ids there.
Sorted by their keys, prompts that begin alike are neighbours: this walks the tree of prefixes depth
first. Each prompt shares the most with the one before it, so one path of the tree is all that has
to be kept, and no part of it longer than somebody needs it. The order does not depend on the order
of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

SMALLEST_ROOM = 256
"""Tokens. Prompts whose lengths differ by less than a factor of two, or that are all shorter, wait
for the same rows of the cache."""

RELATED = 16
"""Tokens in common from which on prompts stay together although their lengths differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the plan has to know of a request."""

    id: str
    keys: tuple[int, ...]
    num_new: int
    """Most tokens that follow the prompt."""
    branches: tuple[int, ...] = ()
    """For each continuation that is scored: how many tokens of it are read."""
    cut: int | None = None
    """Where the prompt has to be read in two parts, wherever others begin to differ; 0: in one.
    None: it is read in whatever parts fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A request's place in the plan."""

    index: int
    """Of its outline."""
    length: int
    """Tokens of the prompt."""
    shared: int
    """Of these, how many are the same as in the leaf before; never all."""
    branches: tuple[int, ...]
    cut: int
    """Tokens that are read apart from the rest; 0: none."""
    goes_on: bool
    """Whether tokens are generated after the first, so that it needs a row of the cache."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Leaves that wait for rows of the same size."""

    room: int
    """Tokens that a row has to hold."""
    leaves: tuple[Leaf, ...]


def picture_numbers(uses: Iterable[tuple[str, str]]) -> dict[str, int]:
    """A key for each picture, given (request, digest) for all its uses, in any order.

    Pictures follow one another as the first of their requests do by name, which is about how they
    lie on disk.
    """
    first: dict[str, str] = {}
    for request, digest in uses:
        first[digest] = min(request, first.get(digest, request))
    ordered = sorted(first, key=lambda digest: (first[digest], digest))
    return {digest: -1 - number for number, digest in enumerate(ordered)}


def keys(
    ids: Sequence[int],
    image_positions: Sequence[int],
    pictures: Iterable[tuple[str, int]],
    numbers: Mapping[str, int],
) -> tuple[int, ...]:
    """A prompt's keys, given the places of its slots and each picture's digest and slots."""
    found = list(ids)
    positions = iter(image_positions)
    for digest, num_slots in pictures:
        for _ in range(num_slots):
            found[next(positions)] = numbers[digest]
    return tuple(found)


def plan(outlines: Sequence[Outline]) -> list[Pass]:
    """All requests, shorter prompts' passes first."""
    order = sorted(range(len(outlines)), key=lambda i: (outlines[i].keys, outlines[i].id))
    families = list(_families([outlines[index].keys for index in order]))
    members = [[order[place] for place in family] for family in families]
    rooms = [max(_room(outlines[index]) for index in family) for family in members]
    ranked = sorted(range(len(members)), key=lambda family: rooms[family])
    return [
        Pass(room, tuple(_leaves(outlines, [i for family in group for i in members[family]])))
        for room, group in groupby(ranked, key=lambda family: rooms[family])
    ]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many keys two prompts have in common from their start."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _families(sorted_keys: Sequence[tuple[int, ...]]) -> Iterator[range]:
    start = 0
    for place in range(1, len(sorted_keys)):
        if common(sorted_keys[place - 1], sorted_keys[place]) < RELATED:
            yield range(start, place)
            start = place
    if sorted_keys:
        yield range(start, len(sorted_keys))


def _room(outline: Outline) -> int:
    """The power of two that holds prompt and answer."""
    return max(SMALLEST_ROOM, 1 << (len(outline.keys) + outline.num_new - 1).bit_length())


def _leaves(outlines: Sequence[Outline], order: Sequence[int]) -> Iterator[Leaf]:
    before = Outline(id="", keys=(), num_new=0)
    for index in order:
        outline = outlines[index]
        shared = min(common(before.keys, outline.keys), len(outline.keys) - 1)
        if outline.cut is not None:
            is_same = before.cut == outline.cut and outline.cut <= shared
            shared = outline.cut if is_same else 0
        yield Leaf(
            index=index,
            length=len(outline.keys),
            shared=shared,
            branches=outline.branches,
            cut=outline.cut or 0,
            goes_on=not outline.branches and outline.num_new > 1,
        )
        before = outline
