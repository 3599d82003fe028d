"""Training samples: conversations and documents with pictures.

A stage draws these by number; `examples` turns them into token ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

Content = tuple[str | Image.Image, ...]
"""Texts and pictures in the order in which the model sees them."""

Layout = Literal["dialogue", "independent"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer."""

    content: Content
    """The user's text and pictures, which follow the conversation's `shared` content."""
    answer: str
    weight: float = 1.0
    """Loss weight of each token of the answer."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"a turn's weight must not be negative, as {self.weight} is")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns about the same pictures; the loss is on the answers."""

    turns: tuple[Turn, ...]
    shared: Content = ()
    """Content before the first turn of a dialogue, and before every independent question."""
    layout: Layout = "dialogue"
    """"dialogue": one sequence, as in the paper. "independent": every question follows `shared`
    directly and sees nothing of the other turns, as if each were asked alone; one pass through the
    vision tower then serves them all."""
    split: bool | None = None
    """True: its pictures are split; None: as the augmentation draws."""
    source: str = "conversation"
    """Name under which the log reports its loss."""

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError(f"a conversation of {self.source} has no turns")
        if self.layout not in ("dialogue", "independent"):
            raise ValueError(f"layout is {self.layout!r}, neither 'dialogue' nor 'independent'")
        if self.layout == "independent" and any(
            isinstance(part, Image.Image) for turn in self.turns for part in turn.content
        ):
            raise ValueError("pictures of independent questions belong into `shared`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Interleaved texts and pictures, as in pre-training; the loss is on all text."""

    content: Content
    source: str = "document"


@dataclass(frozen=True, slots=True)
class Together:
    """Samples that count as one sample of a step: as many as fill a sequence of pre-training.

    They do not attend to one another.
    """

    samples: tuple[Conversation | Document, ...]


Sample = Conversation | Document | Together
