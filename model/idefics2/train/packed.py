"""Examples packed into one row of tokens without padding, with attention within each of them.

Axes: T tokens of the row, A tokens to be predicted, P patches, K values of a patch, I crops,
H query heads, G kv heads, E head width; Z segments attended together, X queries and J keys of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idefics2.train.examples import Array, Example

MAX_WASTE = 1.5
"""Segments are attended in one batch while padding them to one length costs at most this factor.

Padding is only inside the attention product: all else is computed for real tokens alone.
"""


class Reach(NamedTuple):
    """Places in the row of a segment's tokens, and of all tokens that it attends to, in order."""

    queries: Array
    keys: Array


@dataclass(frozen=True, slots=True)
class Group:
    """Segments of similar lengths, attended in one batch."""

    queries_ZX: Tensor
    """Places in the row; beyond a segment's end 0, whose output nobody reads."""
    keys_ZJ: Tensor
    """Places in the row; beyond the end 0, which `bias_ZXJ` hides."""
    bias_ZXJ: Tensor
    """Zero where a query sees a key, else minus infinity; a padding query sees its first key."""
    is_causal: bool
    """True: segments have no parent and one length, so the bias is not needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A micro-batch: examples one after another."""

    ids_T: Tensor
    positions_T: Tensor
    groups: tuple[Group, ...]
    order_T: Tensor
    """Place of each token in the groups' concatenated outputs."""
    images_T: Tensor
    """Number of the last crop before each token in its sequence, from 1; 0: none."""
    from_A: Tensor
    """Place of the token that predicts each target: the one before it in its sequence."""
    targets_A: Tensor
    weights_A: Tensor
    sources_A: Tensor
    """Index into `sources` of the example that a target belongs to."""
    sources: tuple[str, ...]
    patches_PK: Tensor
    grid_I2: Tensor
    spans: tuple[tuple[int, int], ...]
    """Each example's number and how many tokens it has, in their order."""
    lengths_T: Tensor
    """Length of the (longest) sequence that a token belongs to."""
    weight: float
    """Sum of `weights_A`."""

    @property
    def num_tokens(self) -> int:
        return len(self.ids_T)

    @property
    def num_examples(self) -> int:
        return len(self.spans)

    def to(self, device: torch.device) -> Self:
        """The row on a device; the grid stays, since the model reads it as numbers."""
        changes: dict[str, Any] = {
            item.name: value.to(device, non_blocking=True)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor) and item.name != "grid_I2"
        }
        groups = tuple(
            replace(
                group,
                queries_ZX=group.queries_ZX.to(device),
                keys_ZJ=group.keys_ZJ.to(device),
                bias_ZXJ=group.bias_ZXJ.to(device),
            )
            for group in self.groups
        )
        return replace(self, groups=groups, **changes)


def pack_row(examples: Sequence[Example], image_id: int, window: int | None) -> Row:
    """The examples as one row, in order; `window` is the decoder's sliding window."""
    positions, lengths, before, reaches, spans = [], [], [], [], []
    start = 0
    for example in examples:
        spans.append((example.index, example.num_tokens))
        ends: list[Array] = []  # of each segment: the places of all tokens up to its end
        deepest = [0] * len(example.segments)
        for segment in example.segments:
            above = ends[segment.parent] if segment.parent is not None else np.empty(0, np.int64)
            own = np.arange(start, start + segment.length)
            keys = np.concatenate([above, own])
            start += segment.length
            ends.append(keys)
            reaches.append(Reach(own, keys))
            positions.append(np.arange(len(above), len(keys)))
            previous = keys[len(above) - 1 : -1] if len(above) else np.append([-1], own[:-1])
            before.append(previous)
            index = len(ends) - 1
            deepest[index] = len(keys)
            if segment.parent is not None:
                deepest[segment.parent] = max(deepest[segment.parent], len(keys))
        lengths += [
            np.full(segment.length, deep)
            for segment, deep in zip(example.segments, deepest, strict=True)
        ]
    ids_T = np.array([token for example in examples for token in example.ids], np.int64)
    weights_T = np.array([w for example in examples for w in example.weights], np.float32)
    before_T = np.concatenate(before)
    targets = np.flatnonzero((weights_T > 0) & (before_T >= 0))
    sources = tuple(sorted({example.source for example in examples}))
    source_T = np.repeat(
        [sources.index(example.source) for example in examples],
        [example.num_tokens for example in examples],
    )
    groups, order_T = _group(reaches, window)
    with_patches = [example for example in examples if example.num_patches]
    return Row(
        ids_T=torch.from_numpy(ids_T),
        positions_T=torch.from_numpy(np.concatenate(positions)),
        groups=groups,
        order_T=order_T,
        images_T=torch.from_numpy(_last_images(ids_T, reaches, image_id, examples)),
        from_A=torch.from_numpy(before_T[targets]),
        targets_A=torch.from_numpy(ids_T[targets]),
        weights_A=torch.from_numpy(weights_T[targets]),
        sources_A=torch.from_numpy(source_T[targets]),
        sources=sources,
        patches_PK=torch.from_numpy(
            np.concatenate([example.patches_PK for example in with_patches])
            if with_patches
            else np.empty((0, 0), np.uint8)
        ),
        grid_I2=torch.tensor(
            [shape for example in examples for shape in example.grid], dtype=torch.int64
        ).reshape(-1, 2),
        spans=tuple(spans),
        lengths_T=torch.from_numpy(np.concatenate(lengths)),
        weight=float(weights_T[targets].sum(dtype=np.float64)),
    )


class PackedAttention:
    """Attention within examples, as `mistral.Attention` has it."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self._queries = torch.cat([group.queries_ZX.flatten() for group in row.groups])
        self._keys = torch.cat([group.keys_ZJ.flatten() for group in row.groups])

    def attend(self, layer_index: int, q_BHTE: Tensor, k_BGTE: Tensor, v_BGTE: Tensor) -> Tensor:
        """Attention of a row of packed examples: B is 1, and the mask is the row's own."""
        q_TH_E, k_TG_E, v_TG_E = (
            x_BHTE[0].transpose(0, 1).flatten(1) for x_BHTE in (q_BHTE, k_BGTE, v_BGTE)
        )
        width = q_BHTE.shape[-1]
        groups = self.row.groups
        of_queries = [group.queries_ZX for group in groups]
        of_keys = [group.keys_ZJ for group in groups]
        queries = _gather(q_TH_E, self._queries, of_queries, width)
        keys = _gather(k_TG_E, self._keys, of_keys, width)
        values = _gather(v_TG_E, self._keys, of_keys, width)
        parts = []
        for group, q_ZHXE, k_ZGJE, v_ZGJE in zip(groups, queries, keys, values, strict=True):
            y_ZHXE = F.scaled_dot_product_attention(
                q_ZHXE,
                k_ZGJE,
                v_ZGJE,
                attn_mask=None if group.is_causal else group.bias_ZXJ[:, None].to(q_ZHXE.dtype),
                is_causal=group.is_causal,
                enable_gqa=True,
            )
            parts.append(y_ZHXE.transpose(1, 2).flatten(0, 1).flatten(1))
        y_TH_E = torch.cat(parts).index_select(0, self.row.order_T)
        y_THE = torch.unflatten(y_TH_E, 1, (-1, width))
        return y_THE.transpose(0, 1)[None]


def _gather(x_TH_E: Tensor, every: Tensor, places: Sequence[Tensor], width: int) -> list[Tensor]:
    """Queries, keys or values of each group, [Z, H, X, E]; `every` is their concatenated places.

    One gather for all groups, as the gradient of each gather is as large as the row.
    """
    parts = torch.split(x_TH_E.index_select(0, every), [each.numel() for each in places])
    return [
        x.view(*each.shape, -1, width).transpose(1, 2)
        for x, each in zip(parts, places, strict=True)
    ]


def _group(reaches: Sequence[Reach], window: int | None) -> tuple[tuple[Group, ...], Tensor]:
    """Groups of similar lengths, and the place of each token of the row in their outputs."""
    order = sorted(
        range(len(reaches)), key=lambda i: (len(reaches[i].keys), len(reaches[i].queries))
    )
    groups: list[Group] = []
    place_T = np.empty(sum(len(reach.queries) for reach in reaches), np.int64)
    offset = 0
    for members in _bunch(order, reaches):
        group, num_places = _attended([reaches[i] for i in members], window, offset, place_T)
        groups.append(group)
        offset += num_places
    return tuple(groups), torch.from_numpy(place_T)


def _bunch(order: Iterable[int], reaches: Sequence[Reach]) -> list[list[int]]:
    """Splits the sorted segments where padding would cost too much."""
    bunches: list[list[int]] = []
    needed, longest = 0, 0
    for i in order:
        num_queries, num_keys = len(reaches[i].queries), len(reaches[i].keys)
        longest_with = max(longest, num_queries)
        needed_with = needed + num_queries * num_keys
        # Keys grow along the order, so this segment's are the most
        padded = (len(bunches[-1]) + 1) * longest_with * num_keys if bunches else 0
        if not bunches or padded > MAX_WASTE * needed_with:
            bunches.append([])
            longest_with, needed_with = num_queries, num_queries * num_keys
        bunches[-1].append(i)
        needed, longest = needed_with, longest_with
    return bunches


def _attended(
    reaches: Sequence[Reach], window: int | None, offset: int, place_T: Array
) -> tuple[Group, int]:
    num_queries = max(len(reach.queries) for reach in reaches)
    num_keys = max(len(reach.keys) for reach in reaches)
    queries_ZX = np.zeros((len(reaches), num_queries), np.int64)
    keys_ZJ = np.zeros((len(reaches), num_keys), np.int64)
    position_ZX = np.zeros((len(reaches), num_queries), np.int64)
    for z, reach in enumerate(reaches):
        own, seen = len(reach.queries), len(reach.keys)
        queries_ZX[z, :own] = reach.queries
        keys_ZJ[z, :seen] = reach.keys
        position_ZX[z, :own] = np.arange(seen - own, seen)
        first = offset + z * num_queries
        place_T[reach.queries] = np.arange(first, first + own)
    distance_ZXJ = position_ZX[..., None] - np.arange(num_keys)
    sees_ZXJ = distance_ZXJ >= 0
    if window is not None:
        sees_ZXJ &= distance_ZXJ < window
    bias_ZXJ = np.where(sees_ZXJ, np.float32(0), np.float32("-inf"))
    lengths = {(len(reach.queries), len(reach.keys)) for reach in reaches}
    group = Group(
        torch.from_numpy(queries_ZX),
        torch.from_numpy(keys_ZJ),
        torch.from_numpy(bias_ZXJ),
        is_causal=lengths == {(num_queries, num_queries)}
        and (window is None or num_keys <= window),
    )
    return group, queries_ZX.size


def _last_images(
    ids_T: Array, reaches: Sequence[Reach], image_id: int, examples: Sequence[Example]
) -> Array:
    """Numbers of the last crops before each token, where one `<image>` id stands for a crop.

    That is so in the cross-attention architecture alone; elsewhere 0.
    """
    num_crops = sum(len(example.grid) for example in examples)
    is_image_T = ids_T == image_id
    if is_image_T.sum() != num_crops:  # many ids a crop: nobody asks
        return np.zeros_like(ids_T)
    counts_T = np.cumsum(is_image_T) * is_image_T
    last_T = np.zeros_like(ids_T)
    for reach in reaches:
        seen = np.maximum.accumulate(counts_T[reach.keys])
        last_T[reach.queries] = seen[len(seen) - len(reach.queries) :]
    return last_T
