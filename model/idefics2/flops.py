"""FLOPs of the forward passes, from the config alone: 2 for each multiply-add.

Attention counts whole rows of scores, the masked half included; norms, activations and softmax
count nothing. torch's `FlopCounterMode` counts alike, and agrees exactly. This is a plain forward
pass: the engine leaves out a part of the last layer, and computes what prompts share once.

Axes in names: P patches, I crops, R latents of a crop, T new tokens, S cached and new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from idefics2.config import Idefics2Config
from idefics2.images import ImageSettings, resized_size
from idefics2.thinning import Thinning

Grid = Sequence[tuple[int, int]]
"""Rows and columns of patches of each crop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flops:
    """FLOPs of one prompt and its answer, by stage."""

    vision: int
    connector: int
    prefill: int
    decode: int
    """The new tokens but the first, which the prefill gives."""

    @property
    def total(self) -> int:
        return self.vision + self.connector + self.prefill + self.decode


@dataclass(frozen=True, slots=True)
class Forecast:
    """Visual tokens and FLOPs of prompts, before they are made."""

    config: Idefics2Config
    images: ImageSettings
    thinning: Thinning | None = None

    def visual_tokens(self, pictures: Sequence[tuple[int, int]]) -> int:
        """Number of visual tokens of pictures of these widths and heights, in pixels."""
        grid = self._grid(pictures)
        return visual_tokens(self.config, grid) if self.thinning is None else self._slots(grid)

    def flops(
        self, pictures: Sequence[tuple[int, int]], num_text: int, num_new: int
    ) -> dict[str, int]:
        """FLOPs by stage of one prompt with `num_text` tokens beside those of its pictures."""
        grid = self._grid(pictures)
        around = len(grid) + len(pictures)  # on both sides of each crop, neighbours share one
        num_prompt = num_text + around + self._slots(grid)
        return asdict(of_answer(self.config, grid, num_prompt, num_new))

    def _slots(self, grid: Grid) -> int:
        sizes = (self.config.image_slots(*crop) for crop in grid)
        return sum(
            size if self.thinning is None else self.thinning.num_kept(size) for size in sizes
        )

    def _grid(self, pictures: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return [crop for size in pictures for crop in crop_grid(*size, self.images)]


def crop_grid(width: int, height: int, images: ImageSettings) -> list[tuple[int, int]]:
    """Rows and columns of patches of each crop of a picture of this size, in pixels.

    No crops for a picture that is too small to split, which the processor refuses.
    """
    sizes = [(width, height)]
    if images.split:
        if min(width, height) < 2:
            return []
        left, top = width // 2, height // 2
        right, bottom = width - left, height - top
        sizes = [(left, top), (right, top), (left, bottom), (right, bottom), (width, height)]
    resized = [resized_size(*size, images) for size in sizes]
    return [(height // images.patch_size, width // images.patch_size) for width, height in resized]


def visual_tokens(config: Idefics2Config, grid: Grid) -> int:
    """Number of visual tokens of the crops, in the sequence or attended to from it."""
    return sum(config.visual_tokens(*crop) for crop in grid)


def of_answer(config: Idefics2Config, grid: Grid, num_prompt: int, num_new: int) -> Flops:
    """FLOPs of a prompt of `num_prompt` tokens, `<image>` ids included, and `num_new` new ones."""
    first = _decoder(config, 1, num_prompt + 1, grid)
    last = _decoder(config, 1, num_prompt + num_new - 1, grid)
    return Flops(
        vision=_vision(config, grid) if grid else 0,
        connector=_connector(config, grid) if grid else 0,
        prefill=_decoder(config, num_prompt, num_prompt, grid) + _read_images(config, grid),
        decode=(num_new - 1) * (first + last) // 2,  # each step costs equally more
    )


def _linear(num_rows: int, width: int, out_width: int) -> int:
    return 2 * num_rows * width * out_width


def _attention(num_queries: int, num_keys: int, width: int) -> int:
    """Scores and weighted values; `width` is that of all heads together."""
    return 4 * num_queries * num_keys * width


def _patches(grid: Grid) -> list[int]:
    return [rows * columns for rows, columns in grid]


def _vision(config: Idefics2Config, grid: Grid) -> int:
    vision, patches = config.vision, _patches(grid)
    num_P = sum(patches)
    layer = (
        4 * _linear(num_P, vision.width, vision.width)
        + sum(_attention(length, length, vision.width) for length in patches)
        + 2 * _linear(num_P, vision.width, vision.mlp_width)
    )
    return _linear(num_P, vision.patch_values, vision.width) + vision.num_layers * layer


def _connector(config: Idefics2Config, grid: Grid) -> int:
    patches, text = _patches(grid), config.text
    num_P = sum(patches)
    if config.connector == "linear":
        return _linear(num_P, config.vision.width, text.width)
    projection = _gated_mlp(num_P, config.vision.width, text.mlp_width, text.width)
    if config.connector == "mlp":
        return projection
    perceiver = config.perceiver
    num_R = perceiver.num_latents
    num_IR = len(grid) * num_R
    query_width = perceiver.num_heads * perceiver.head_width
    kv_width = perceiver.num_kv_heads * perceiver.head_width
    layer = (
        2 * _linear(num_IR, text.width, query_width)
        + 2 * _linear(num_IR + num_P, text.width, kv_width)
        + sum(_attention(num_R, length + num_R, query_width) for length in patches)
        + _gated_mlp(num_IR, text.width, 4 * text.width, text.width)
    )
    return projection + perceiver.num_layers * layer


def _decoder(config: Idefics2Config, num_T: int, num_S: int, grid: Grid) -> int:
    """One forward pass over new tokens, with the output projection of the last."""
    text = config.text
    query_width, kv_width = text.num_heads * text.head_width, text.num_kv_heads * text.head_width
    layer = (
        2 * _linear(num_T, text.width, query_width)
        + 2 * _linear(num_T, text.width, kv_width)
        + _attention(num_T, num_S, query_width)
        + _gated_mlp(num_T, text.width, text.mlp_width, text.width)
    )
    work = text.num_layers * layer + _linear(1, text.width, text.vocab_size)
    if config.architecture == "cross_attention":
        gated = _gated_mlp(num_T, text.width, text.mlp_width, text.width)
        if grid:
            num_visual = len(grid) * config.perceiver.num_latents
            gated += 2 * _linear(num_T, text.width, query_width)
            gated += _attention(num_T, num_visual, query_width)
        work += config.num_gated_blocks * gated
    return work


def _read_images(config: Idefics2Config, grid: Grid) -> int:
    """Projections of the visual tokens to keys and values for the gated blocks."""
    if config.architecture != "cross_attention":
        return 0
    text, num_visual = config.text, len(grid) * config.perceiver.num_latents
    kv_width = text.num_kv_heads * text.head_width
    return config.num_gated_blocks * 2 * _linear(num_visual, text.width, kv_width)


def _gated_mlp(num_rows: int, width: int, mlp_width: int, out_width: int) -> int:
    return 2 * _linear(num_rows, width, mlp_width) + _linear(num_rows, mlp_width, out_width)
