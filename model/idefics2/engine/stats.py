"""Counts of what the engine was asked for and what it computed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class EngineStats:
    """Totals over all requests so far."""

    num_requests: int = 0
    """Requests whose prompts are prefilled."""
    num_crops_requested: int = 0
    """Crops in all prompts: one that two prompts share counts twice."""
    num_crops_encoded: int = 0
    num_prompt_tokens: int = 0
    """Tokens of all prompts, scored continuations included, before prefixes are shared."""
    num_prefill_tokens: int = 0
    """Prompt tokens that went through the decoder."""
    num_decode_tokens: int = 0
    """Generated tokens but for each answer's first, which the prefill gives."""
    num_encode_steps: int = 0
    num_prefill_steps: int = 0
    num_decode_steps: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of the device's thread, by stage: "image_wait", "encode", "prefill", "decode".

    With profiling also "connector" (part of "encode"), "prefill_sampling" and "decode_sampling".
    """
    shortages: list[str] = field(default_factory=list)
    """Each time that memory ran out: what was tried, and what was made smaller."""

    def add_seconds(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def count_request(self, num_tokens: int) -> None:
        self.num_requests += 1
        self.num_prompt_tokens += num_tokens

    def count_encoding(self, num_crops: int, seconds: float) -> None:
        self.num_encode_steps += 1
        self.num_crops_encoded += num_crops
        self.add_seconds("encode", seconds)

    def count_prefill(self, num_tokens: int, seconds: float) -> None:
        self.num_prefill_steps += 1
        self.num_prefill_tokens += num_tokens
        self.add_seconds("prefill", seconds)

    def count_decode(self, num_tokens: int, seconds: float) -> None:
        self.num_decode_steps += 1
        self.num_decode_tokens += num_tokens
        self.add_seconds("decode", seconds)
