"""What transformers' `generate` is told at each step, so that rows of a batch are on their own.

Its own sampling draws one random number after another for the whole batch, and its own limits and
stop strings know neither a row's length nor its text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vlmbench.backends.stop_strings import Cut, cut

if TYPE_CHECKING:
    from torch import Tensor

Decode = Callable[[Sequence[int]], str]

OUT = float("-inf")
"""A logit that is never chosen."""


@dataclass(slots=True)
class Row:
    """One answer as it grows."""

    limit: int
    """New tokens, at most."""

    ids: list[int] = field(default_factory=list)
    """Token ids less the stop token."""

    finish_reason: Literal["stop", "length"] | None = None
    finished_at: float = 0.0
    is_thinking: bool = False
    """The prompt has opened a thought, in which stop strings do not count."""


class Watch:
    """Notes each row's tokens, and ends a row at a stop token, at a stop string or at its limit."""

    def __init__(
        self,
        limits: Sequence[int],
        stop_ids: Collection[int],
        stops: Sequence[str],
        decode: Decode,
        thinking: Sequence[bool] = (),
    ) -> None:
        """`thinking`: of each row, whether its prompt has opened a thought."""
        self.rows = [Row(limit) for limit in limits]
        for row, is_thinking in zip(self.rows, thinking, strict=False):
            row.is_thinking = is_thinking
        self.first_token_at = 0.0
        self._stop_ids, self._stops, self._decode = frozenset(stop_ids), stops, decode

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """A stopping criterion: which rows are finished."""
        tokens = input_ids[:, -1].tolist()
        now = time.perf_counter()
        self.first_token_at = self.first_token_at or now
        for row, token in zip(self.rows, tokens, strict=True):
            if row.finish_reason is None:
                self._take(row, token)
                row.finished_at = now
        finished: Tensor = input_ids.new_tensor(
            [row.finish_reason is not None for row in self.rows]
        )
        return finished.bool()

    def shares(self, start: float, end: float) -> list[float]:
        """Each row's part of the time from `start` to `end`.

        The prefill is divided among all rows, as they are padded to one length; a step among the
        rows that are not finished, as the others only wait for them.
        """
        ends = [row.finished_at or end for row in self.rows]
        before = self.first_token_at
        parts = [(before - start) / len(ends)] * len(ends)
        for now in sorted(set(ends)):
            at_work = [number for number, ended in enumerate(ends) if ended >= now]
            for number in at_work:
                parts[number] += (now - before) / len(at_work)
            before = now
        return [part + (end - before) / len(parts) for part in parts]

    def text(self, row: Row) -> str:
        """The row's text, cut before the first stop string."""
        return self._cut(row).text

    def _cut(self, row: Row) -> Cut:
        return cut(self._decode(row.ids), self._stops, is_thinking=row.is_thinking)

    def _take(self, row: Row, token: int) -> None:
        if token in self._stop_ids:
            row.finish_reason = "stop"
            return
        row.ids.append(token)
        if self._stops and self._cut(row).is_stopped:
            row.finish_reason = "stop"
        elif len(row.ids) == row.limit:
            row.finish_reason = "length"


class FirstLogits:
    """A logits processor that only looks: which rows had logits that are not numbers."""

    def __init__(self) -> None:
        self.is_nan: list[bool] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self.is_nan:
            self.is_nan = scores.isnan().any(-1).tolist()
        return scores


class Keep:
    """A logits processor that only looks, and keeps the last logits."""

    scores: Tensor

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.scores = scores.float()
        return scores


class Draw:
    """A logits processor that samples: each row from random numbers of its own.

    The number picks from the cumulative distribution of the fewest likeliest tokens that together
    reach `top_p`.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        import torch

        self._random = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        import torch

        probabilities = (scores.float() / self._temperature).softmax(-1)
        ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
        kept = ordered * (ordered.cumsum(-1) - ordered < self._top_p)
        cumulative = kept.cumsum(-1)
        numbers = torch.stack([torch.rand((), generator=random) for random in self._random])
        passed = cumulative <= numbers.to(cumulative.device)[:, None] * cumulative[:, -1:]
        last = (kept > 0).sum(-1) - 1  # rounding may put a number at the very end
        drawn = ids.gather(-1, torch.minimum(passed.sum(-1), last)[:, None])
        return torch.full_like(scores, OUT).scatter_(-1, drawn, 0.0)


class Force:
    """A logits processor that makes each row say its given ids, and sums up how likely they were.

    Reading along keeps positions, caches and masks the model's own affair.
    """

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self.log_likelihoods = [0.0] * len(rows)
        self._rows, self._step = rows, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        import torch

        log_probabilities = scores.float().log_softmax(-1)
        forced = torch.full_like(scores, OUT)
        for index, row in enumerate(self._rows):
            if self._step < len(row):
                id = row[self._step]
                self.log_likelihoods[index] += log_probabilities[index, id].item()
            forced[index, row[min(self._step, len(row) - 1)]] = 0.0
        self._step += 1
        return forced
