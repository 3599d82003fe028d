"""What the device computes next: a prefill batch, or a decode step of the running sequences.

A prefill step takes as many prompts as there are KV-cache slots and tokens for. The prefix that the
next step's first prompt shares with this step's last is kept in one more slot, the prefix slot.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from idefics2.engine.planner import PlannedPrompt

REFILL = 4
"""Prompts are prefilled once one slot in so many is free. To prefill one prompt alone costs about
as much as a decode step of all slots: both read all weights once."""


class SlotPool:
    """KV-cache slots by number, each taken at most once; the lowest free one comes first."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self._free = list(range(num_slots))
        self._taken: set[int] = set()

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def taken(self) -> frozenset[int]:
        return frozenset(self._taken)

    def take(self) -> int:
        """Raises: IndexError if none is free."""
        slot = heapq.heappop(self._free)
        self._taken.add(slot)
        return slot

    def release(self, slot: int) -> None:
        """Raises: KeyError if it is not taken."""
        self._taken.remove(slot)
        heapq.heappush(self._free, slot)

    def compact(self) -> list[tuple[int, int]]:
        """Moves (source, target) after which the lowest numbers are the taken ones."""
        moves = []
        for source in sorted(self._taken, reverse=True):
            if not self._free or self._free[0] > source:
                break
            moves.append((source, self.take()))
            self.release(source)
        return moves


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part of a prompt that one step prefills, with its scored branches if it is the last."""

    prompt: PlannedPrompt
    start: int
    """Tokens before this are in the prefix slot, or in the step's earlier chunks."""
    stop: int
    slot: int | None
    """The KV-cache slot in which its sequence will be decoded; None if it needs none."""

    @property
    def is_last(self) -> bool:
        return self.stop == self.prompt.length

    @property
    def num_tokens(self) -> int:
        """Tokens to compute, branches included."""
        return self.stop - self.start + (sum(self.prompt.branches) if self.is_last else 0)


@dataclass(frozen=True, slots=True)
class PrefillStep:
    """Chunks that are prefilled in one batch."""

    chunks: tuple[Chunk, ...]
    num_prefix: int
    """Tokens in the prefix slot before the step."""
    num_kept: int
    """Tokens of the last chunk's prompt that the prefix slot has after the step."""


class Scheduler:
    """Assigns a bucket's prompts to KV-cache slots, in plan order, each once.

    A prefill step is opened by the first `admit`, and closed by `close_step`.
    """

    def __init__(
        self,
        prompts: Iterable[PlannedPrompt],
        num_slots: int,
        prefill_tokens: int,
        *,
        one_by_one: bool = False,
    ) -> None:
        """An empty schedule.

        Args:
            prompts: The bucket's.
            num_slots: Of the KV cache, without the prefix slot.
            prefill_tokens: Of a step, at most; a single longer chunk is admitted all the same.
            one_by_one: Whether a step has one chunk, so that no result depends on its neighbours.
        """
        self.prefill_tokens = prefill_tokens
        self._waiting = deque(prompts)
        self._slots = SlotPool(num_slots)
        self._one_by_one = one_by_one
        self._chunks: list[Chunk] = []
        self._num_prefix = 0
        self._num_shared = 0

    @property
    def running(self) -> frozenset[int]:
        """Slots of the sequences that are decoded."""
        return self._slots.taken

    @property
    def should_prefill(self) -> bool:
        """True if a prefill step comes next, rather than a decode step."""
        if not self._waiting or not self.running or not self._waiting[0].needs_slot:
            return bool(self._waiting)
        enough = min(len(self._waiting), max(1, self._slots.num_slots // REFILL))
        return self._slots.num_free >= enough

    def next_chunk(self) -> Chunk | None:
        """What the open step would prefill next; None if nothing waits, or it does not fit."""
        if not self._waiting:
            return None
        prompt, start = self._waiting[0], self._num_shared
        cut = prompt.cut or 0
        chunk = Chunk(prompt, start, cut if cut > start else prompt.length, None)
        num_tokens = sum(chunk.num_tokens for chunk in self._chunks) + chunk.num_tokens
        is_full = bool(self._chunks) and (self._one_by_one or num_tokens > self.prefill_tokens)
        needs_slot = prompt.needs_slot and chunk.is_last
        return None if is_full or (needs_slot and not self._slots.num_free) else chunk

    def admit(self) -> None:
        """Adds the next chunk to the open step."""
        chunk = self.next_chunk()
        assert chunk is not None
        if not chunk.is_last:
            self._chunks.append(chunk)
            self._num_shared = chunk.stop
            return
        slot = self._slots.take() if chunk.prompt.needs_slot else None
        self._chunks.append(replace(chunk, slot=slot))
        self._waiting.popleft()
        self._num_shared = self._waiting[0].num_shared if self._waiting else 0

    def drop(self) -> None:
        """Removes the prompt of the next chunk for good."""
        dropped = self._waiting.popleft()
        if not self._waiting:
            self._num_shared = 0
            return
        prompt = self._waiting[0]
        self._num_shared = min(self._num_shared, prompt.num_shared)
        # its neighbour is now the one before
        shared = min(dropped.num_shared, prompt.num_shared)
        self._waiting[0] = replace(prompt, num_shared=shared)

    def close_step(self) -> PrefillStep | None:
        """The open step, to be computed now; None if it is empty."""
        if not self._chunks:
            return None
        step = PrefillStep(tuple(self._chunks), self._num_prefix, self._num_shared)
        self._chunks = []
        self._num_prefix = self._num_shared
        return step

    def requeue(self, step: PrefillStep) -> None:
        """Puts the prompts of a failed step back in front of those that wait."""
        assert not self._chunks
        for chunk in reversed(step.chunks):
            if chunk.slot is not None:
                self._slots.release(chunk.slot)
            if chunk.is_last:
                self._waiting.appendleft(chunk.prompt)
        self._num_prefix = self._num_shared = 0  # who knows how much of it was overwritten

    def finish(self, slot: int) -> None:
        """Frees the slot of a sequence that has ended."""
        self._slots.release(slot)

    def compact(self) -> list[tuple[int, int]]:
        """Moves (source, target) of slots, so that running sequences have the first ones."""
        return self._slots.compact()
