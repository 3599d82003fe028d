"""The KV cache of the engine, and attention of prefill and decode batches to it.

Axes: B sequences, T tokens of a prefill batch, S keys, H query heads, G kv heads, E head width,
U slots of the KV cache, M tokens of all slots.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from idefics2.config import TextConfig
from idefics2.engine.batch import AttentionGroup, PrefillBatch


class KVCache:
    """Keys and values in slots of equal size: one for each running sequence, the prefix slot last.

    A layer's keys are [M, G, E] with the tokens of a slot one after the other, so that a token's
    keys move as one block.
    """

    def __init__(
        self,
        config: TextConfig,
        num_slots: int,
        slot_tokens: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Slots of `slot_tokens` tokens each; `num_slots` does not count the prefix slot."""
        shape = ((num_slots + 1) * slot_tokens, config.num_kv_heads, config.head_width)
        self.num_slots, self.slot_tokens = num_slots, slot_tokens
        self.sliding_window = config.sliding_window
        self.layers = [
            (
                torch.zeros(shape, dtype=dtype, device=device),
                torch.zeros(shape, dtype=dtype, device=device),
            )
            for _ in range(config.num_layers)
        ]

    @property
    def prefix_slot(self) -> int:
        """The slot with the prefix that the next step's prompts share."""
        return self.num_slots

    def move(self, source: int, target: int, num_tokens: int) -> None:
        """Copies the first tokens of a slot to another one."""
        for layer in self.layers:
            for x_MGE in layer:
                x_USGE = torch.unflatten(x_MGE, 0, (-1, self.slot_tokens))
                x_USGE[target, :num_tokens] = x_USGE[source, :num_tokens]

    def clear(self, slot: int) -> None:
        """Zeroes a slot: a masked key weighs nothing, but nothing times NaN is NaN."""
        start = slot * self.slot_tokens
        for layer in self.layers:
            for x_MGE in layer:
                x_MGE[start : start + self.slot_tokens] = 0


class PrefillAttention:
    """Attention of a prefill batch, as `mistral.Attention` has it."""

    def __init__(self, cache: KVCache, batch: PrefillBatch) -> None:
        device = cache.layers[0][0].device
        self._cache, self._num_prefix = cache, batch.num_prefix
        self._groups = [(group, _bias(group, batch, cache)) for group in batch.groups()]
        sources, targets = _copies(batch, cache)
        self._sources = torch.tensor(sources, dtype=torch.int64, device=device)
        self._targets = torch.tensor(targets, dtype=torch.int64, device=device)

    def attend(self, layer_index: int, q_BHTE: Tensor, k_BGTE: Tensor, v_BGTE: Tensor) -> Tensor:
        """Attention group by group, B is 1; keeps what will be decoded or shared in its slot."""
        k_MGE, v_MGE = self._cache.layers[layer_index]
        k_SGE, v_SGE = self._with_prefix(k_MGE, k_BGTE), self._with_prefix(v_MGE, v_BGTE)
        y_BTHE = torch.empty_like(q_BHTE.transpose(1, 2))
        for group, bias_TS in self._groups:
            own = slice(group.tokens.start, group.tokens.stop)
            y_BHTE = F.scaled_dot_product_attention(
                q_BHTE[:, :, own],
                self._of_group(k_SGE, group),
                self._of_group(v_SGE, group),
                attn_mask=bias_TS,
                is_causal=bias_TS is None,
                enable_gqa=True,
            )
            y_BTHE[:, own] = y_BHTE.transpose(1, 2)
        k_MGE.index_copy_(0, self._targets, k_SGE[self._sources])
        v_MGE.index_copy_(0, self._targets, v_SGE[self._sources])
        return y_BTHE.transpose(1, 2)

    def _with_prefix(self, x_MGE: Tensor, x_BGTE: Tensor) -> Tensor:
        own_TGE = x_BGTE[0].transpose(0, 1)
        start = self._cache.prefix_slot * self._cache.slot_tokens
        return torch.cat([x_MGE[start : start + self._num_prefix], own_TGE])

    def _of_group(self, x_SGE: Tensor, group: AttentionGroup) -> Tensor:
        own = range(self._num_prefix + group.tokens.start, self._num_prefix + group.tokens.stop)
        pieces = [x_SGE[piece.start : piece.stop] for piece in (*group.context, own)]
        x_SGE = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        return x_SGE.transpose(0, 1)[None]


class DecodeAttention:
    """Attention of one new token per sequence, as `mistral.Attention` has it."""

    def __init__(
        self, cache: KVCache, slot_B: Tensor, length_B: Tensor, num_keys: int, start: int | None
    ) -> None:
        """The state of each sequence.

        Args:
            cache: Where earlier tokens are.
            slot_B: The slot of each sequence.
            length_B: Tokens in it, before the new one.
            num_keys: Tokens of a slot that are looked at: more than the longest sequence has.
            start: The first slot if the slots are neighbours, in their order; None if they have to
                be gathered.
        """
        self._cache, self._slot_B, self._start = cache, slot_B, start
        self._num_keys = num_keys
        self._target_B = slot_B * cache.slot_tokens + length_B
        key_S = torch.arange(num_keys, device=slot_B.device)
        mask_BS = key_S <= length_B[:, None]
        if cache.sliding_window is not None:
            mask_BS = mask_BS & (key_S > length_B[:, None] - cache.sliding_window)
        self._mask_B11S = mask_BS[:, None, None]

    def attend(self, layer_index: int, q_BHTE: Tensor, k_BGTE: Tensor, v_BGTE: Tensor) -> Tensor:
        """Attention of each token to its own slot, to which it is added; T is 1."""
        k_MGE, v_MGE = self._cache.layers[layer_index]
        k_MGE.index_copy_(0, self._target_B, k_BGTE[:, :, 0])
        v_MGE.index_copy_(0, self._target_B, v_BGTE[:, :, 0])
        # The query heads that share a kv head stand as its queries: nothing is copied for them.
        grouped_BGHE = torch.unflatten(q_BHTE[:, :, 0], 1, (k_BGTE.shape[1], -1))
        y_BGHE = F.scaled_dot_product_attention(
            grouped_BGHE, self._seen(k_MGE), self._seen(v_MGE), attn_mask=self._mask_B11S
        )
        return y_BGHE.flatten(1, 2)[:, :, None]

    def _seen(self, x_MGE: Tensor) -> Tensor:
        x_USGE = torch.unflatten(x_MGE, 0, (-1, self._cache.slot_tokens))
        if self._start is None:
            x_BSGE = x_USGE[self._slot_B, : self._num_keys]
        else:
            x_BSGE = x_USGE[self._start : self._start + len(self._slot_B), : self._num_keys]
        return x_BSGE.transpose(1, 2)


def _copies(batch: PrefillBatch, cache: KVCache) -> tuple[list[int], list[int]]:
    """Keys to keep, and where each goes among the tokens of all slots."""
    sources: list[int] = []
    targets: list[int] = []
    for slot, keys in batch.copies:
        kept = [key for piece in keys for key in piece]
        start = slot * cache.slot_tokens
        if slot == cache.prefix_slot:  # what is in it and stays need not be copied
            stays = min(batch.num_prefix, len(keys[0])) if keys and keys[0].start == 0 else 0
            kept, start = kept[stays:], start + stays
        sources += kept
        targets += range(start, start + len(kept))
    return sources, targets


def _bias(group: AttentionGroup, batch: PrefillBatch, cache: KVCache) -> Tensor | None:
    """What is added to a group's scores, [T, S]; None if each token sees all before it."""
    own, num_prefix, window = group.tokens, batch.num_prefix, cache.sliding_window
    position_T = torch.tensor(batch.positions[own.start : own.stop])
    is_windowed = window is not None and max(batch.positions) >= window
    if len(group.spans) == 1 and not group.context and not is_windowed:
        return None
    pieces = (*group.context, range(num_prefix + own.start, num_prefix + own.stop))
    keys = [key for piece in pieces for key in piece]
    column_of = {key: column for column, key in enumerate(keys)}
    sees_TS = torch.zeros(len(own), len(keys), dtype=torch.bool)
    for span in group.spans:
        rows = slice(span.tokens.start - own.start, span.tokens.stop - own.start)
        first = column_of[num_prefix + span.tokens.start]
        sees_TS[rows, [column_of[key] for piece in span.context for key in piece]] = True
        sees_TS[rows, first : first + len(span.tokens)].fill_(True).tril_()
    if window is not None and is_windowed:
        position_S = torch.tensor([_position(key, batch) for key in keys])
        sees_TS &= position_T[:, None] - position_S < window
    k_MGE, _ = cache.layers[0]
    bias_TS = torch.zeros(sees_TS.shape, dtype=k_MGE.dtype).masked_fill(~sees_TS, float("-inf"))
    return bias_TS.to(k_MGE.device)


def _position(key: int, batch: PrefillBatch) -> int:
    return key if key < batch.num_prefix else batch.positions[key - batch.num_prefix]
