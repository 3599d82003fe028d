"""Visual tokens dropped at random: what a method that chooses among them has to beat."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thinning:
    """Which visual tokens of a picture are kept, drawn without replacement in each crop."""

    share: float
    """Of each crop's visual tokens, above 0 and at most 1; one at least is kept."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"a share of {self.share} cannot be kept: above 0 and at most 1 can")

    def num_kept(self, num_tokens: int) -> int:
        """How many of a crop's visual tokens are kept."""
        return max(1, round(self.share * num_tokens))

    def kept(self, digest: str, crop_tokens: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Indices of the kept tokens of each crop, ascending: the same for equal pictures."""
        return tuple(
            tuple(sorted(self._draw(digest, crop).sample(range(number), self.num_kept(number))))
            for crop, number in enumerate(crop_tokens)
        )

    def _draw(self, digest: str, crop: int) -> random.Random:
        return random.Random(f"{self.seed} {digest} {crop}")
