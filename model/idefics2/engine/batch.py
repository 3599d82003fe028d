"""The tokens of a prefill or decode step, and what each of them attends to.

In a prefill batch keys are numbered: first those in the prefix slot, then the batch's own tokens in
their order. A prompt's keys are some ranges of these numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from idefics2.engine.scheduler import PrefillStep

KeyRanges: TypeAlias = tuple[range, ...]

KEYS = 64
"""Decoding looks at a multiple of so many keys of a slot."""

GROUP_TOKENS = 256
"""Spans that build on one another attend in one call up to this many tokens. A call computes scores
for all pairs of tokens and keys: larger groups cost arithmetic, smaller ones cost calls."""

UNRELATED_TOKENS = 64
"""The same, for a span that sees nothing of the group's others."""


class CausalSpan(NamedTuple):
    """Neighbouring tokens that attend to all keys of `context` and, causally, to one another."""

    tokens: range
    context: KeyRanges


@dataclass(frozen=True, slots=True)
class AttentionGroup:
    """Neighbouring spans that attend in one call, to a context and to one another."""

    context: KeyRanges
    spans: tuple[CausalSpan, ...]

    @property
    def tokens(self) -> range:
        return range(self.spans[0].tokens.start, self.spans[-1].tokens.stop)


@dataclass(frozen=True, slots=True)
class PrefillBatch:
    """A prefill step's tokens, in one sequence without padding."""

    num_prefix: int
    """Tokens in the prefix slot, which are the first keys."""
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    spans: list[CausalSpan] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """The first token of each chunk."""
    outputs: list[range] = field(default_factory=list)
    """Tokens of each chunk whose next token is asked for. A scored prompt's last token comes
    first, then its branches, one after the other."""
    copies: list[tuple[int, KeyRanges]] = field(default_factory=list)
    """Keys and values to keep: a slot, and the keys that become its first tokens."""

    @property
    def wanted(self) -> list[int]:
        """Tokens whose hidden states are needed: those of all `outputs`."""
        return [token for output in self.outputs for token in output]

    def output_places(self) -> Iterator[range]:
        """Places of each chunk's `outputs` among the wanted tokens."""
        start = 0
        for output in self.outputs:
            yield range(start, start + len(output))
            start += len(output)

    def groups(self) -> Iterator[AttentionGroup]:
        """The spans in groups that attend together."""
        group: list[CausalSpan] = []
        for span in self.spans:
            if group and self._is_apart(group, span):
                yield AttentionGroup(group[0].context, tuple(group))
                group = []
            group.append(span)
        if group:
            yield AttentionGroup(group[0].context, tuple(group))

    def _is_apart(self, group: Sequence[CausalSpan], span: CausalSpan) -> bool:
        start = group[0].tokens.start
        sees_group = any(keys.stop > self.num_prefix + start for keys in span.context)
        limit = GROUP_TOKENS if sees_group else UNRELATED_TOKENS
        return span.tokens.stop - start > limit

    def add(self, ids: Sequence[int], position: int, context: KeyRanges) -> KeyRanges:
        """Appends tokens that follow `context`; gives the keys up to the last of them."""
        tokens = range(len(self.ids), len(self.ids) + len(ids))
        self.ids.extend(ids)
        self.positions.extend(range(position, position + len(ids)))
        if tokens:
            self.spans.append(CausalSpan(tokens, context))
        own = range(self.num_prefix + tokens.start, self.num_prefix + tokens.stop)
        if context and context[-1].stop == own.start:
            return (*context[:-1], range(context[-1].start, own.stop))
        return (*context, own)


def pack(
    step: PrefillStep,
    prompts: Sequence[tuple[int, ...]],
    continuations: Sequence[Sequence[tuple[int, ...]]],
    prefix_slot: int,
) -> PrefillBatch:
    """The batch of a step, given the ids of all prompts and continuations by `index`."""
    batch = PrefillBatch(step.num_prefix)
    keys: KeyRanges = (range(step.num_prefix),)
    for chunk in step.chunks:
        index = chunk.prompt.index
        batch.starts.append(len(batch.ids))
        ids = prompts[index][chunk.start : chunk.stop]
        keys = batch.add(ids, chunk.start, first_keys(keys, chunk.start))
        if chunk.slot is not None:
            batch.copies.append((chunk.slot, keys))
        last = len(batch.ids) - 1
        if chunk.prompt.branches and chunk.is_last:
            for continuation in continuations[index]:
                batch.add(continuation[:-1], chunk.stop, keys)
        batch.outputs.append(range(last, len(batch.ids)) if chunk.is_last else range(0))
    if step.num_kept:
        batch.copies.append((prefix_slot, first_keys(keys, step.num_kept)))
    return batch


def first_keys(keys: KeyRanges, number: int) -> KeyRanges:
    """The first keys of a prompt."""
    kept = []
    for piece in keys:
        piece = piece[:number]
        if piece:
            kept.append(piece)
        number -= len(piece)
    assert number == 0, "a prompt is shorter than what is to be shared of it"
    return tuple(kept)


def scored_pairs(
    places: range, continuations: Iterable[tuple[int, ...]]
) -> Iterator[list[tuple[int, int]]]:
    """Places that predict the ids of each continuation of a prompt, with these ids.

    `places` are the prompt's among the wanted tokens: its last token, then all branches.
    """
    last, branches = places[0], places[1:]
    for ids in continuations:
        num_computed = len(ids) - 1
        yield list(zip([last, *branches[:num_computed]], ids, strict=True))
        branches = branches[num_computed:]


@dataclass(frozen=True, slots=True)
class DecodeBatch:
    """Running sequences that are decoded by one token each; the lists are parallel."""

    slots: list[int]
    """Slots of the KV cache."""
    lengths: list[int]
    """Tokens in each slot: all of the sequence but its last."""
    ids: list[int]
    """The last token of each sequence."""

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def num_keys(self) -> int:
        """Keys of a slot to look at: the longest sequence's, rounded up to a multiple of `KEYS`."""
        return round_up(max(self.lengths) + 1)

    def take(self, places: Iterable[int]) -> DecodeBatch:
        """Some of the sequences, or repetitions of them, in the given order."""
        places = list(places)
        return DecodeBatch(
            [self.slots[place] for place in places],
            [self.lengths[place] for place in places],
            [self.ids[place] for place in places],
        )


def round_up(num_keys: int) -> int:
    """The next multiple of `KEYS`."""
    return -(-num_keys // KEYS) * KEYS
