"""The order in which prompts are prefilled, so that a prefix that they share is computed once.

A prompt's keys are its token ids, but for its `<image>` ids: these are replaced by a negative
number for the image, as prompts about different images have the same ids there. Sorting prompts by
their keys is a depth-first walk through the tree of prefixes: each prompt shares more with the one
before it than with any earlier one, so that only one path of the tree is ever kept in the KV cache.
The order does not depend on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

SMALLEST_BUCKET = 256
"""Tokens. Prompts whose lengths differ by less than a factor of two, or that are all shorter, use
KV-cache slots of the same size."""

RELATED = 16
"""Tokens of a common prefix from which on prompts share a bucket although their lengths differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPrompt:
    """A request's prompt as planner and scheduler see it."""

    index: int
    """Position of its sequence in the planning batch."""
    id: str
    """The request's; decides between equal prompts."""
    keys: tuple[int, ...]
    max_new_tokens: int
    branches: tuple[int, ...] = ()
    """Number of computed tokens of each continuation that is scored."""
    cut: int | None = None
    """Start of the second prefill chunk, whatever others share with the prompt; 0: one chunk.
    None: the second chunk begins where the shared prefix ends."""
    num_shared: int = 0
    """Length of the prefix that it shares with the prompt before it in the plan; never all."""

    @property
    def length(self) -> int:
        return len(self.keys)

    @property
    def needs_slot(self) -> bool:
        """True if tokens are decoded after the first, for which the KV cache keeps the prompt."""
        return not self.branches and self.max_new_tokens > 1


@dataclass(frozen=True, slots=True)
class LengthBucket:
    """Prompts that use KV-cache slots of the same size, in the order of prefill."""

    slot_tokens: int
    prompts: tuple[PlannedPrompt, ...]


def image_numbers(uses: Iterable[tuple[str, str]]) -> dict[str, int]:
    """A negative number for each image, given pairs of request id and image digest in any order.

    Images are ordered by the first id of their requests, which is about their order on disk.
    """
    first: dict[str, str] = {}
    for request, digest in uses:
        first[digest] = min(request, first.get(digest, request))
    ordered = sorted(first, key=lambda digest: (first[digest], digest))
    return {digest: -1 - number for number, digest in enumerate(ordered)}


def prefix_keys(
    ids: Sequence[int],
    image_positions: Sequence[int],
    images: Iterable[tuple[str, int]],
    numbers: Mapping[str, int],
) -> tuple[int, ...]:
    """A prompt's keys, given where its `<image>` ids are, and each image's digest and length."""
    keys = list(ids)
    positions = iter(image_positions)
    for digest, num_tokens in images:
        for _ in range(num_tokens):
            keys[next(positions)] = numbers[digest]
    return tuple(keys)


def plan(prompts: Sequence[PlannedPrompt]) -> list[LengthBucket]:
    """All prompts in the order of prefill, shorter buckets first."""
    ordered = sorted(prompts, key=lambda prompt: (prompt.keys, prompt.id))
    groups = list(_related(ordered))
    sizes = [max(map(_slot_tokens, group)) for group in groups]
    by_size = sorted(range(len(groups)), key=lambda group: sizes[group])
    return [
        LengthBucket(size, tuple(_with_shared(prompt for i in same for prompt in groups[i])))
        for size, same in groupby(by_size, key=lambda group: sizes[group])
    ]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _related(ordered: Sequence[PlannedPrompt]) -> Iterator[list[PlannedPrompt]]:
    """Splits sorted prompts where neighbours share less than `RELATED` tokens."""
    group: list[PlannedPrompt] = []
    for prompt in ordered:
        if group and common(group[-1].keys, prompt.keys) < RELATED:
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group


def _slot_tokens(prompt: PlannedPrompt) -> int:
    """The power of two that holds prompt and answer."""
    return max(SMALLEST_BUCKET, 1 << (prompt.length + prompt.max_new_tokens - 1).bit_length())


def _with_shared(ordered: Iterable[PlannedPrompt]) -> Iterator[PlannedPrompt]:
    """The prompts with the length of what each shares with the one before it."""
    before: PlannedPrompt | None = None
    for prompt in ordered:
        shared = 0
        if before is not None:
            shared = min(common(before.keys, prompt.keys), prompt.length - 1)
            if prompt.cut is not None:
                is_same = before.cut == prompt.cut and prompt.cut <= shared
                shared = prompt.cut if is_same else 0
        yield replace(prompt, num_shared=shared)
        before = prompt
