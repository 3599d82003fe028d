"""The KV cache of plain generation, and which tokens attend to which.

A row of a batch may hold several sequences, and padding: `segments_BT` numbers the sequence that
each token belongs to, from 1; 0 is padding. A 0/1 attention mask is the case of one sequence a row.

Axes: B rows (sequences, where each has one), T query tokens, S keys (cached tokens and new ones),
H query heads, G kv heads, E head width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from idefics2.config import TextConfig
from idefics2.layers import KeysValues, attend


class Cache:
    """Keys and values of B rows, which are all filled from the left and equally far."""

    def __init__(
        self,
        config: TextConfig,
        num_rows: int,
        capacity: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (num_rows, config.num_kv_heads, capacity, config.head_width)
        self.capacity = capacity
        self.layers = [
            KeysValues(*(torch.empty(shape, dtype=dtype, device=device) for _ in range(2)))
            for _ in range(config.num_layers)
        ]
        self.segments_BS = torch.empty((num_rows, 0), dtype=torch.int64, device=device)
        self.positions_BS = self.segments_BS
        self.images_BS = self.segments_BS
        """Numbers of images, for the cross-attention architecture: see `VisualContext.of`."""
        self.visual: tuple[KeysValues, ...] | None = None
        """Keys and values of that architecture's images; None before there are any."""

    @property
    def num_used(self) -> int:
        """Number of slots in use, padding included."""
        return self.segments_BS.shape[1]

    def extend(self, segments_BT: Tensor, positions_BT: Tensor) -> None:
        """Takes T more slots, which `append` fills layer by layer.

        Raises: ValueError if the cache has no room for them.
        """
        num_new = segments_BT.shape[1]
        if self.num_used + num_new > self.capacity:
            raise ValueError(
                f"{num_new} tokens after {self.num_used} do not fit a cache of {self.capacity}"
            )
        self.segments_BS = torch.cat([self.segments_BS, segments_BT], 1)
        self.positions_BS = torch.cat([self.positions_BS, positions_BT], 1)

    def append(self, layer_index: int, k_BGTE: Tensor, v_BGTE: Tensor) -> KeysValues:
        """Puts one layer's keys and values in the slots taken last; gives those of all slots."""
        stop = self.num_used
        start = stop - k_BGTE.shape[2]
        k_BGSE, v_BGSE = self.layers[layer_index]
        k_BGSE[:, :, start:stop] = k_BGTE
        v_BGSE[:, :, start:stop] = v_BGTE
        return KeysValues(k_BGSE[:, :, :stop], v_BGSE[:, :, :stop])

    def repeat(self, num_rows: int) -> None:
        """Turns the one row into so many equal ones."""
        self.layers = [
            KeysValues(*(x_1GSE.repeat(num_rows, 1, 1, 1) for x_1GSE in layer))
            for layer in self.layers
        ]
        self.segments_BS = self.segments_BS.repeat(num_rows, 1)
        self.positions_BS = self.positions_BS.repeat(num_rows, 1)
        self.images_BS = self.images_BS.repeat(num_rows, 1)


class CachedAttention(NamedTuple):
    """Attention of new tokens to all that is in a cache, which `Cache.extend` has prepared."""

    cache: Cache
    mask_BTS: Tensor | None
    """The keys that each token attends to; None for the first tokens: itself and all before it."""

    def attend(self, layer_index: int, q_BHTE: Tensor, k_BGTE: Tensor, v_BGTE: Tensor) -> Tensor:
        """Attention y_BHTE; the layer's new keys and values go into the cache."""
        keys_values = self.cache.append(layer_index, k_BGTE, v_BGTE)
        return attend(q_BHTE, *keys_values, self.mask_BTS)


class Layout(NamedTuple):
    """Positions of new tokens in their sequences, and the keys that they attend to."""

    positions_BT: Tensor
    same_BTS: Tensor
    """Keys of the token's own sequence up to itself."""
    mask_BTS: Tensor
    """Those of `same_BTS` within the sliding window."""


def lay_out(segments_BT: Tensor, window: int | None, cache: Cache | None) -> Layout:
    """The layout of new tokens behind what is cached; the cache takes slots for them.

    A token's position is the number of earlier tokens of its sequence, so that sequences packed in
    one row all begin at 0. Padding attends to padding, since a softmax over nothing is NaN.
    """
    cached_BS = segments_BT[:, :0] if cache is None else cache.segments_BS
    segments_BS = torch.cat([cached_BS, segments_BT], 1)
    index_S = torch.arange(segments_BS.shape[1], device=segments_BS.device)
    index_T = index_S[cached_BS.shape[1] :]
    same_BTS = segments_BS[:, None] == segments_BT[..., None]
    same_BTS = same_BTS & (index_S <= index_T[:, None])
    positions_BT = same_BTS.sum(-1) - 1
    positions_BS = positions_BT
    if cache is not None:
        cache.extend(segments_BT, positions_BT)
        positions_BS = cache.positions_BS
    mask_BTS = same_BTS
    if window is not None:
        mask_BTS = same_BTS & (positions_BT[..., None] - positions_BS[:, None] < window)
    return Layout(positions_BT, same_BTS, mask_BTS)
