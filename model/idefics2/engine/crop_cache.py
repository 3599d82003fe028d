"""Cross-attention in the engine: keys and values of crops, once for all tokens that see them.

Axes: B sequences, T tokens of a prefill batch, H query heads, G kv heads, E head width, R latents
of a crop, I crops, L visual tokens of all crops, U slots of the KV cache.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from idefics2.config import Idefics2Config
from idefics2.layers import KeysValues


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CropKeys:
    """A crop as the gated blocks attend to it."""

    blocks: tuple[KeysValues, ...]
    """Each block's keys and values [1, G, R, E]."""


def split_crops(blocks: Sequence[KeysValues], num_latents: int) -> list[CropKeys]:
    """The keys and values [1, G, L, E] of some crops, each apart and in memory of its own."""
    num_crops = blocks[0].k_BGSE.shape[2] // num_latents
    of_crops: list[list[KeysValues]] = [[] for _ in range(num_crops)]
    for block in blocks:
        pieces = zip(*(torch.split(x_1GLE, num_latents, 2) for x_1GLE in block), strict=True)
        for crop, (k_1GRE, v_1GRE) in zip(of_crops, pieces, strict=True):
            crop.append(KeysValues(_own(k_1GRE), _own(v_1GRE)))
    return [CropKeys(tuple(crop)) for crop in of_crops]


def _own(x_1GRE: Tensor) -> Tensor:
    return x_1GRE.clone(memory_format=torch.contiguous_format)


class CropRun(NamedTuple):
    """Neighbouring tokens of a prefill batch that see the same crop."""

    tokens: range
    crop: CropKeys


class RunAttention(NamedTuple):
    """Attention of a prefill batch, as `cross_attention.VisualAttention` has it; B is 1."""

    runs: Sequence[CropRun]
    """All other tokens see no crop."""

    def attend(self, block_index: int, q_BHTE: Tensor) -> Tensor:
        """Attention run by run."""
        y_BTHE = torch.zeros_like(q_BHTE.transpose(1, 2))
        for tokens, crop in self.runs:
            own = slice(tokens.start, tokens.stop)
            k_1GRE, v_1GRE = crop.blocks[block_index]
            y_BHTE = F.scaled_dot_product_attention(
                q_BHTE[:, :, own], k_1GRE, v_1GRE, enable_gqa=True
            )
            y_BTHE[:, own] = y_BHTE.transpose(1, 2)
        return y_BTHE.transpose(1, 2)


class CropCache:
    """The crops that running sequences see, each in one entry however many sequences see it.

    There are as many entries as slots, and one of zeros: attention to it is zero, as it has to be
    for a sequence that sees no crop. The tensors stay where they are, as CUDA graphs need it.
    """

    def __init__(
        self, config: Idefics2Config, num_slots: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        """No slot sees a crop."""
        text = config.text
        shape = (num_slots + 1, text.num_kv_heads, config.perceiver.num_latents, text.head_width)
        self.blocks = [
            KeysValues(*(torch.zeros(shape, dtype=dtype, device=device) for _ in range(2)))
            for _ in range(config.num_gated_blocks)
        ]
        self._nothing = num_slots
        self._entries = [num_slots] * num_slots
        self.entry_U = torch.tensor(self._entries, device=device)
        """The entry of each slot."""
        self._crops: list[weakref.ref[CropKeys] | None] = [None] * num_slots

    @staticmethod
    def slot_tokens(config: Idefics2Config) -> int:
        """The memory of a slot's entry, as a number of tokens of the KV cache, rounded up."""
        latents = config.perceiver.num_latents * config.num_gated_blocks
        return -(-latents // config.text.num_layers)

    def keep(self, slot: int, crop: CropKeys | None) -> None:
        """Makes the crop what the sequence in a slot sees from now on."""
        self._set(slot, self._nothing)  # its entry may be free now
        if crop is not None:
            self._set(slot, self._entry_of(crop))

    def move(self, source: int, target: int) -> None:
        """Makes a slot's crop that of another one too."""
        self._set(target, self._entries[source])

    def attention(self, slot_B: Tensor) -> EntryAttention:
        """That of the sequences in some slots."""
        return EntryAttention(self.blocks, self.entry_U[slot_B])

    def _set(self, slot: int, entry: int) -> None:
        self._entries[slot] = entry
        self.entry_U[slot] = entry

    def _entry_of(self, crop: CropKeys) -> int:
        """The entry that has the crop: an old one, or a free one to which it is copied."""
        for entry, kept in enumerate(self._crops):
            if kept is not None and kept() is crop:
                return entry
        taken = set(self._entries)
        entry = next(entry for entry in range(len(self._crops)) if entry not in taken)
        for block, own in zip(self.blocks, crop.blocks, strict=True):
            for x_UGRE, x_1GRE in zip(block, own, strict=True):
                x_UGRE[entry] = x_1GRE[0]
        self._crops[entry] = weakref.ref(crop)
        return entry


class EntryAttention(NamedTuple):
    """Attention of a decode batch, as `cross_attention.VisualAttention` has it; T is 1."""

    blocks: Sequence[KeysValues]
    """Keys and values of all entries."""
    entry_B: Tensor
    """The entry that each sequence sees."""

    def attend(self, block_index: int, q_BHTE: Tensor) -> Tensor:
        """Attention of each token to its own entry."""
        k_UGRE, v_UGRE = self.blocks[block_index]
        # The query heads that share a kv head stand as its queries: nothing is copied for them.
        grouped_BGHE = torch.unflatten(q_BHTE[:, :, 0], 1, (k_UGRE.shape[1], -1))
        y_BGHE = F.scaled_dot_product_attention(
            grouped_BGHE, k_UGRE[self.entry_B], v_UGRE[self.entry_B]
        )
        return y_BGHE.flatten(1, 2)[:, :, None]
