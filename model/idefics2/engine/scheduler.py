"""What the device does next: read prompts, or go on with the answers begun.

Prompts are read in steps of as many as there are rows and tokens for. What the next step's first
prompt shares with this step's last is kept in one more row, the trunk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from idefics2.engine.planner import Leaf
from idefics2.engine.slots import Move, Slots

REFILL = 4
"""Prompts are read as soon as one row in so many is free: reading one prompt alone costs about as
much as a token for all rows, as both read all weights once."""


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a prompt that a step reads, and its branches if that is the last part."""

    leaf: Leaf
    start: int
    """Tokens before this are in the trunk, or in spans before this one."""
    stop: int
    slot: int | None
    """The row in which its answer will grow; None if it needs none."""

    @property
    def is_last(self) -> bool:
        return self.stop == self.leaf.length

    @property
    def num_tokens(self) -> int:
        """How many are read."""
        return self.stop - self.start + (sum(self.leaf.branches) if self.is_last else 0)


@dataclass(frozen=True, slots=True)
class Step:
    """Spans that are read at once."""

    spans: tuple[Span, ...]
    trunk: int
    """Tokens in the trunk before it."""
    keep: int
    """How many of the last span's prompt go into the trunk."""


class Scheduler:
    """Leads the leaves of a pass through rows of the cache, each leaf once, in their order."""

    def __init__(
        self, leaves: Iterable[Leaf], num_slots: int, step_tokens: int, *, one_by_one: bool = False
    ) -> None:
        """`one_by_one`: a step has one span, so that nothing depends on who is its neighbour."""
        self.step_tokens = step_tokens
        self._waiting = deque(leaves)
        self._slots = Slots(num_slots)
        self._one_by_one = one_by_one
        self._spans: list[Span] = []
        self._trunk = 0
        self._shared = 0

    @property
    def running(self) -> frozenset[int]:
        """Rows in which answers grow."""
        return self._slots.taken

    @property
    def wants_to_read(self) -> bool:
        """Whether the next step is to read prompts rather than to go on with answers."""
        if not self._waiting or not self.running or not self._waiting[0].goes_on:
            return bool(self._waiting)
        enough = min(len(self._waiting), max(1, self._slots.number // REFILL))
        return self._slots.num_free >= enough

    def offer(self) -> Span | None:
        """What the open step would read next; None if nothing more waits or fits."""
        if not self._waiting:
            return None
        leaf, start = self._waiting[0], self._shared
        span = Span(leaf, start, leaf.cut if leaf.cut > start else leaf.length, None)
        num_tokens = sum(span.num_tokens for span in self._spans) + span.num_tokens
        is_full = bool(self._spans) and (self._one_by_one or num_tokens > self.step_tokens)
        needs_slot = leaf.goes_on and span.is_last
        return None if is_full or (needs_slot and not self._slots.num_free) else span

    def accept(self) -> None:
        """Takes what is on offer into the open step."""
        span = self.offer()
        assert span is not None
        if not span.is_last:
            self._spans.append(span)
            self._shared = span.stop
            return
        slot = self._slots.take() if span.leaf.goes_on else None
        self._spans.append(Span(span.leaf, span.start, span.stop, slot))
        self._waiting.popleft()
        self._shared = self._waiting[0].shared if self._waiting else 0

    def drop(self) -> None:
        """Leaves out the leaf on offer for good."""
        dropped = self._waiting.popleft()
        if not self._waiting:
            self._shared = 0
            return
        leaf = self._waiting[0]
        self._shared = min(self._shared, leaf.shared)
        # its neighbour is now the one before
        self._waiting[0] = replace(leaf, shared=min(dropped.shared, leaf.shared))

    def close(self) -> Step | None:
        """The open step, to be read now; None if it is empty."""
        if not self._spans:
            return None
        step = Step(tuple(self._spans), self._trunk, self._shared)
        self._spans = []
        self._trunk = self._shared
        return step

    def rewind(self, step: Step) -> None:
        """Puts the leaves of a step that came to nothing back, the first in front."""
        assert not self._spans
        for span in reversed(step.spans):
            if span.slot is not None:
                self._slots.give_back(span.slot)
            if span.is_last:
                self._waiting.appendleft(span.leaf)
        self._trunk = self._shared = 0  # who knows how much of it was overwritten

    def finish(self, slot: int) -> None:
        """Frees the row of an answer that is complete."""
        self._slots.give_back(slot)

    def compact(self) -> list[Move]:
        """Moves answers so that they fill the first rows."""
        return self._slots.compact()
