"""How the tokens of a step lie in one row, and what each of them attends to.

Sources are where keys and values come from: first the tokens in the trunk, then the step's own, in
the order in which they are packed. A path is the ranges of sources that make up a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from idefics2.engine.scheduler import Step

Path: TypeAlias = tuple[range, ...]

FAMILY_TOKENS = 256
"""Parts that build on one another attend together up to this many tokens. Attention is computed
for all pairs of a family: more would cost arithmetic, fewer would cost calls."""

STRANGER_TOKENS = 64
"""The same, for a part that sees nothing of the others."""


class Part(NamedTuple):
    """Neighbouring tokens that attend to all of `seen`, and to one another up to themselves."""

    own: range
    """Packed tokens."""
    seen: Path


@dataclass(frozen=True, slots=True)
class Family:
    """Neighbouring parts that attend in one call, to a context and to one another."""

    context: Path
    parts: tuple[Part, ...]

    @property
    def own(self) -> range:
        """Packed tokens."""
        return range(self.parts[0].own.start, self.parts[-1].own.stop)


class Copy(NamedTuple):
    """Keys and values to keep: `path` becomes the tokens of a row, from its first on."""

    row: int
    path: Path


@dataclass(frozen=True, slots=True)
class Packed:
    """A step's tokens."""

    trunk: int
    """Tokens of the trunk, which are the first sources."""
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """Of each span: its first packed token."""
    outputs: list[range] = field(default_factory=list)
    """Of each span: packed tokens whose next token is asked for. A scored prompt's last token
    comes first, then all of its branches, one after the other."""
    copies: list[Copy] = field(default_factory=list)

    @property
    def wanted(self) -> list[int]:
        """Packed tokens whose hidden states are needed: those of all `outputs`."""
        return [token for output in self.outputs for token in output]

    def places(self) -> Iterator[range]:
        """Of each span: where its `outputs` are among the wanted tokens."""
        start = 0
        for output in self.outputs:
            yield range(start, start + len(output))
            start += len(output)


def pack(
    step: Step,
    prompts: Sequence[tuple[int, ...]],
    continuations: Sequence[Sequence[tuple[int, ...]]],
    trunk_row: int,
) -> Packed:
    """Packs a step, given all prompts and continuations by their leaves' index."""
    packed = Packed(step.trunk)
    path: Path = (range(step.trunk),)
    for span in step.spans:
        packed.starts.append(len(packed.ids))
        own = prompts[span.leaf.index][span.start : span.stop]
        path = _add(packed, own, span.start, cut(path, span.start))
        if span.slot is not None:
            packed.copies.append(Copy(span.slot, path))
        last = len(packed.ids) - 1
        if span.leaf.branches and span.is_last:
            for ids in continuations[span.leaf.index]:
                _add(packed, ids[:-1], span.stop, path)
        packed.outputs.append(range(last, len(packed.ids)) if span.is_last else range(0))
    if step.keep:
        packed.copies.append(Copy(trunk_row, cut(path, step.keep)))
    return packed


def families(packed: Packed) -> Iterator[Family]:
    """The parts in groups that attend together."""
    group: list[Part] = []
    for part in packed.parts:
        if group and _is_apart(group, part, packed.trunk):
            yield Family(group[0].seen, tuple(group))
            group = []
        group.append(part)
    if group:
        yield Family(group[0].seen, tuple(group))


def cut(path: Path, length: int) -> Path:
    """The first tokens of a path."""
    kept = []
    for piece in path:
        piece = piece[:length]
        if piece:
            kept.append(piece)
        length -= len(piece)
    assert length == 0, "a path is shorter than what is to be shared of it"
    return tuple(kept)


def _add(packed: Packed, ids: Sequence[int], position: int, seen: Path) -> Path:
    """Packs tokens that follow `seen`; gives the path that ends with them."""
    own = range(len(packed.ids), len(packed.ids) + len(ids))
    packed.ids.extend(ids)
    packed.positions.extend(range(position, position + len(ids)))
    if own:
        packed.parts.append(Part(own, seen))
    return _joined(seen, range(packed.trunk + own.start, packed.trunk + own.stop))


def _joined(path: Path, piece: range) -> Path:
    if path and path[-1].stop == piece.start:
        return (*path[:-1], range(path[-1].start, piece.stop))
    return (*path, piece)


def _is_apart(group: Sequence[Part], part: Part, trunk: int) -> bool:
    start = group[0].own.start
    sees_group = any(piece.stop > trunk + start for piece in part.seen)
    return part.own.stop - start > (FAMILY_TOKENS if sees_group else STRANGER_TOKENS)
