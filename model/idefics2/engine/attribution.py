"""Device time of each request: what a step took, divided among the requests that it served.

All requests together add up to the time of all steps: nothing is counted twice, whatever is shared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice

from idefics2.engine.planner import PlannedPrompt
from idefics2.engine.scheduler import Chunk, PrefillStep
from idefics2.engine.sequence import Sequence


class DeviceTime:
    """Adds to the `device_s` of sequences, also of those whose turn is still to come."""

    def __init__(self, prompts: tuple[PlannedPrompt, ...], sequences: list[Sequence]) -> None:
        """For a bucket.

        Args:
            prompts: The bucket's, in the order of prefill.
            sequences: Those of the planning batch, which the prompts' `index` counts.
        """
        self._prompts, self._sequences = prompts, sequences
        self._places = {prompt.index: place for place, prompt in enumerate(prompts)}
        self._users: dict[str, list[Sequence]] = defaultdict(list)
        for sequence in sequences:
            for digest in {image.digest for image in sequence.request.images}:
                self._users[digest].append(sequence)

    def encoded(self, seconds: Mapping[str, float]) -> None:
        """Divides the time of each image, by digest, evenly among the requests that wait for it."""
        for digest, spent in seconds.items():
            users = [one for one in self._users[digest] if one.is_waiting]
            for sequence in users:
                sequence.device_s += spent / len(users)

    def prefilled(self, step: PrefillStep, seconds: float) -> None:
        """Divides a step's time evenly among its tokens, a token's among those that share it."""
        token_s = seconds / sum(chunk.num_tokens for chunk in step.chunks)
        for chunk in step.chunks:
            self._add_chunk(chunk, token_s)

    def decoded(self, running: Iterable[Sequence], seconds: float) -> None:
        """Divides a step's time evenly among its rows."""
        rows = list(running)
        for sequence in rows:
            sequence.device_s += seconds / len(rows)

    def _add_chunk(self, chunk: Chunk, token_s: float) -> None:
        """Divides a chunk: prompts after it in the plan share ever less of its beginning."""
        users = [self._sequences[chunk.prompt.index]]
        tokens = [0.0]
        """For each user: tokens that it and the users before it have, and no user after it."""
        stop = chunk.stop
        for later in islice(self._prompts, self._places[chunk.prompt.index] + 1, None):
            shared = min(stop, later.num_shared)
            if shared <= chunk.start:
                break
            tokens[-1] += stop - shared
            stop = shared
            sequence = self._sequences[later.index]
            if sequence.is_waiting:  # else it was given up
                users.append(sequence)
                tokens.append(0.0)
        tokens[-1] += stop - chunk.start
        share = 0.0
        for number in reversed(range(len(users))):
            share += tokens[number] / (number + 1)
            users[number].device_s += share * token_s
        users[0].device_s += (chunk.num_tokens - (chunk.stop - chunk.start)) * token_s
