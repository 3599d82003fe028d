"""What the processor hands to the model: token ids with `<image>` slots, and the images' patches.

Axes: P patches of all crops, K pixel values of a patch, I crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from idefics2.config import Idefics2Config


@dataclass(frozen=True, slots=True)
class Slots:
    """An image's place in a prompt, for an image that is decoded later."""

    crops: tuple[int, ...]
    """Number of `<image>` ids of each crop."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One sequence to continue, with the images that it mentions."""

    ids: tuple[int, ...]
    """Token ids from <s> on; every crop has as many `<image>` ids as the model has latents."""
    patches_PK: Tensor
    """Pixel values, uint8, crop after crop; K runs over channel, row, column."""
    grid_I2: Tensor
    """Rows and columns of patches of each crop, int64; their products sum to P.

    An image is one crop, or five where images are split.
    """


def check_prompt(
    ids: Sequence[int],
    crop_slots: Sequence[int],
    max_new_tokens: int,
    config: Idefics2Config,
    name: str,
) -> None:
    """Raises: ValueError for a prompt that the model cannot continue.

    Args:
        ids: Its tokens.
        crop_slots: Number of `<image>` ids that each of its crops takes.
        max_new_tokens: Most tokens that are to follow.
        config: The model's.
        name: The prompt's, for the message.
    """
    if not ids:
        raise ValueError(f"{name} is empty")
    check_ids(ids, config, name)
    if len(ids) + max_new_tokens > config.text.max_positions:
        raise ValueError(
            f"{name} has {len(ids)} tokens: with {max_new_tokens} new ones that is beyond the "
            f"context of {config.text.max_positions}"
        )
    num_ids, num_slots = ids.count(config.image_id), sum(crop_slots)
    if num_ids != num_slots:
        raise ValueError(
            f"{name} has {num_ids} <image> ids, but its {len(crop_slots)} crops take {num_slots}"
        )


def check_ids(ids: Sequence[int], config: Idefics2Config, name: str) -> None:
    """Raises: ValueError for an id outside the vocabulary."""
    size = config.text.vocab_size
    if outside := [id for id in ids if not 0 <= id < size]:
        raise ValueError(f"{name} has id {outside[0]}, outside the vocabulary of {size}")
