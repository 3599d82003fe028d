"""Random changes to a sample before it is encoded, drawn by the sample's own generator."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from PIL import Image

from idefics2.train.samples import Content, Conversation, Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Augmentations of section 4.2; the paper gives no number but the share of splitting."""

    upscale_share: float = 0.0
    """Share of pictures that are enlarged before the processor sees them."""
    upscale_least: float = 1.5
    upscale_most: float = 3.0
    """Bounds of the factor; its distribution is triangular with mode `upscale_most` (M4's code)."""
    split_share: float = 0.0
    """Share of samples whose pictures are split into four quarters and the whole."""
    shuffle_turns: bool = False
    max_turns: int | None = None
    """Further turns are dropped, after shuffling; None: all stay."""
    newline_share: float = 0.0
    r"""Share of user turns whose text gets a "\n" in front (M4's code: 0.05)."""

    def __post_init__(self) -> None:
        for name in ("upscale_share", "split_share", "newline_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        if not 1 <= self.upscale_least <= self.upscale_most:
            raise ValueError(
                f"up-scaling from {self.upscale_least} to {self.upscale_most} does not enlarge"
            )
        if self.max_turns is not None and self.max_turns < 1:
            raise ValueError(f"max_turns must be positive, not {self.max_turns}")

    def splits(self, numbers: random.Random) -> bool:
        """True if this sample's pictures are split."""
        return numbers.random() < self.split_share

    def change(
        self, sample: Conversation | Document, numbers: random.Random
    ) -> Conversation | Document:
        """The sample with its turns in another order and its pictures enlarged."""
        if isinstance(sample, Document):
            return replace(sample, content=self._enlarge(sample.content, numbers))
        turns = list(sample.turns)
        if self.shuffle_turns:
            turns = numbers.sample(turns, len(turns))
        turns = [
            replace(turn, content=self._reword(self._enlarge(turn.content, numbers), numbers))
            for turn in turns[: self.max_turns]
        ]
        return replace(sample, turns=tuple(turns), shared=self._enlarge(sample.shared, numbers))

    def _reword(self, content: Content, numbers: random.Random) -> Content:
        if numbers.random() >= self.newline_share:
            return content
        texts = [index for index, part in enumerate(content) if isinstance(part, str)]
        if not texts:
            return content
        first = texts[0]
        return (*content[:first], "\n", *content[first:])

    def _enlarge(self, content: Content, numbers: random.Random) -> Content:
        parts: list[str | Image.Image] = []
        for part in content:
            if isinstance(part, Image.Image) and numbers.random() < self.upscale_share:
                factor = numbers.triangular(
                    self.upscale_least, self.upscale_most, self.upscale_most
                )
                size = (round(part.width * factor), round(part.height * factor))
                part = part.resize(size, Image.Resampling.BILINEAR)
            parts.append(part)
        return tuple(parts)
