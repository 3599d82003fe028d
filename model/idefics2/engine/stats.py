"""What the engine did, and what it did not have to do."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Work:
    """Counts over all requests so far."""

    requests: int = 0
    crops_requested: int = 0
    """Crops of all prompts, as often as they are asked about."""
    crops_encoded: int = 0
    tokens_requested: int = 0
    """Tokens of all prompts."""
    tokens_read: int = 0
    """Of prompts, by the decoder."""
    tokens_gone_on: int = 0
    """Generated after an answer's first, one for each answer that grows in a step."""
    steps_encoding: int = 0
    steps_reading: int = 0
    steps_going_on: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of the device's thread: "wait" for pictures, "encode", "read", "go on". With
    profiling, parts of these too: "connector", "choose first", "choose next"."""
    shortages: list[str] = field(default_factory=list)
    """Where memory ran out, and what was made smaller."""

    def add_seconds(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def count_request(self, num_tokens: int) -> None:
        self.requests += 1
        self.tokens_requested += num_tokens

    def count_reading(self, num_tokens: int, seconds: float) -> None:
        self.steps_reading += 1
        self.tokens_read += num_tokens
        self.add_seconds("read", seconds)

    def count_going_on(self, num_tokens: int, seconds: float) -> None:
        self.steps_going_on += 1
        self.tokens_gone_on += num_tokens
        self.add_seconds("go on", seconds)
