"""How tokens are chosen and where an answer ends; shared by `generate` and the engine.

Axes: B sequences, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Decode = Callable[[Sequence[int]], str]

NOT_NUMBERS = "the model's logits are not numbers (NaN); float32 or bfloat16 has a wider range"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to choose tokens, and when to stop."""

    max_new_tokens: int
    temperature: float = 0.0
    """Divisor of the logits; 0 always takes the likeliest token."""
    top_p: float = 1.0
    """Nucleus sampling: draws from the fewest likeliest tokens whose probabilities sum to this
    (Holtzman et al., 2020)."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end the answer and are not part of it."""
    stop_strings: tuple[str, ...] = ()
    """Texts that end the answer, which is cut before them."""
    bad_ids: tuple[tuple[int, ...], ...] = ()
    """Words that are never generated, as ids: the last id of one is banned where the others
    precede."""
    seed: int = 0
    """Seed of sampling; same seed, prompt and settings: same answer in any batch."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not all(self.stop_strings):
            raise ValueError("a stop string is empty")
        if not all(self.bad_ids):
            raise ValueError("a bad word is empty")


class Token(NamedTuple):
    """A generated token."""

    id: int
    logprob: float
    """Natural logarithm of its probability under the model alone, before any setting."""


class Completion:
    """One prompt's answer, token by token."""

    def __init__(
        self, prompt_ids: tuple[int, ...], sampling: Sampling, decode: Decode | None
    ) -> None:
        if sampling.stop_strings and decode is None:
            raise ValueError("stop_strings need decode")
        self.prompt_ids, self.sampling, self.decode = prompt_ids, sampling, decode
        self.random = torch.Generator().manual_seed(sampling.seed)
        self.tokens: list[Token] = []
        self.finish_reason: Literal["stop", "length"] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """New token ids: with those of a stop string, without a stop id."""
        return tuple(token.id for token in self.tokens)

    @property
    def banned_ids(self) -> list[int]:
        """Ids that would complete a bad word as the next token."""
        words = self.sampling.bad_ids
        longest = max(map(len, words), default=1) - 1
        before = (self.prompt_ids[-longest:] + self.ids)[-longest:] if longest else ()
        return [
            word[-1] for word in words if len(word) == 1 or before[-len(word) + 1 :] == word[:-1]
        ]

    def append(self, token: Token) -> None:
        """Adds the next token, and ends the answer where it stops.

        Raises: FloatingPointError if the logits were not numbers.
        """
        assert self.finish_reason is None
        check_numbers([token.logprob])
        if token.id in self.sampling.stop_ids:
            self.finish_reason = "stop"
            return
        self.tokens.append(token)
        if self.sampling.stop_strings and self._cut() is not None:
            self.finish_reason = "stop"
        elif len(self.tokens) == self.sampling.max_new_tokens:
            self.finish_reason = "length"

    @property
    def text(self) -> str | None:
        """The decoded answer, cut before a stop string; None if no `decode` was given."""
        if self.decode is None:
            return None
        text = self._cut() if self.sampling.stop_strings else None
        return self.decode(self.ids) if text is None else text

    def _cut(self) -> str | None:
        """The text before the first stop string; None while there is none."""
        assert self.decode is not None
        text = self.decode(self.ids)
        ends = [text.find(stop) for stop in self.sampling.stop_strings if stop in text]
        return text[: min(ends)] if ends else None


def check_numbers(logprobs: Sequence[float]) -> None:
    """Raises: FloatingPointError if any is NaN."""
    if any(map(math.isnan, logprobs)):
        raise FloatingPointError(NOT_NUMBERS)


def choose(logits_BV: Tensor, completions: Sequence[Completion]) -> list[Token]:
    """The next token of each answer; waits for the device once."""
    logits_BV = logits_BV.float()
    logprobs_BV = logits_BV.log_softmax(-1)
    banned = [
        (row, id) for row, completion in enumerate(completions) for id in completion.banned_ids
    ]
    if banned:
        rows, ids = torch.tensor(banned, device=logits_BV.device).unbind(1)
        logits_BV = logits_BV.index_put((rows, ids), logits_BV.new_tensor(float("-inf")))
    ids_B = logits_BV.argmax(-1)
    drawn = [row for row, one in enumerate(completions) if one.sampling.temperature]
    if drawn:
        ids_B[drawn] = _draw(logits_BV[drawn], [completions[row] for row in drawn])
    chosen_B = logprobs_BV.gather(-1, ids_B[:, None])[:, 0]
    both_2B = torch.stack([ids_B.double(), chosen_B.double()])  # ids are exact in it
    ids, logprobs = both_2B.tolist()
    return [Token(int(id), logprob) for id, logprob in zip(ids, logprobs, strict=True)]


def _draw(logits_BV: Tensor, completions: Sequence[Completion]) -> Tensor:
    """Ids drawn from the nucleus by inverting its cumulative distribution at numbers in [0, 1)."""
    device = logits_BV.device
    settings = [
        (completion.sampling.temperature, completion.sampling.top_p) for completion in completions
    ]
    temperature_B, top_p_B = torch.tensor(settings, device=device).unbind(1)
    random = [torch.rand((), generator=one.random) for one in completions]
    random_B = torch.stack(random).to(device)
    probs_BV = (logits_BV / temperature_B[:, None]).softmax(-1)
    sorted_BV, order_BV = probs_BV.sort(-1, descending=True)
    kept_BV = sorted_BV.cumsum(-1) - sorted_BV < top_p_B[:, None]
    cumulative_BV = (sorted_BV * kept_BV).cumsum(-1)
    passed_BV = cumulative_BV <= random_B[:, None] * cumulative_BV[:, -1:]
    last_B = kept_BV.sum(-1) - 1  # rounding may put a number at the very end of the distribution
    index_B = torch.minimum(passed_BV.sum(-1), last_B)
    return order_BV.gather(-1, index_B[:, None])[:, 0]
