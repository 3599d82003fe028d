"""Keys and values of prompts and their answers, and attention to them.

Axes: B answers, T packed tokens, S keys, H query heads, G kv heads, E head width. N is a number of
rows, X a number of tokens of all rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from idefics2.config import TextConfig
from idefics2.engine.batch import Family, Packed, families


class Rows:
    """A part of memory in rows of equal size: one for each answer that grows, and the trunk last.

    Tokens lie one after the other in a row: [X, G, E] for each layer, so that a token's keys move
    as one block.
    """

    def __init__(
        self,
        config: TextConfig,
        num_rows: int,
        room: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """`room` is a row's number of tokens; `num_rows` does not count the trunk."""
        shape = ((num_rows + 1) * room, config.num_kv_heads, config.head_width)
        self.num_rows, self.room = num_rows, room
        self.window = config.sliding_window
        self.layers = [
            (
                torch.zeros(shape, dtype=dtype, device=device),
                torch.zeros(shape, dtype=dtype, device=device),
            )
            for _ in range(config.num_layers)
        ]

    @property
    def trunk(self) -> int:
        """The number of the row that the next step's prompts begin with."""
        return self.num_rows

    def move(self, source: int, target: int, num_tokens: int) -> None:
        """Copies the first tokens of a row to another one."""
        for layer in self.layers:
            for x_XGE in layer:
                x_NSGE = torch.unflatten(x_XGE, 0, (-1, self.room))
                x_NSGE[target, :num_tokens] = x_NSGE[source, :num_tokens]


class Reading:
    """The attention of a step that reads prompts, as `mistral.Store` has it."""

    def __init__(self, rows: Rows, packed: Packed) -> None:
        device = rows.layers[0][0].device
        self._rows, self._trunk = rows, packed.trunk
        self._families = [(family, _mask(family, packed, rows)) for family in families(packed)]
        sources, targets = _copies(packed, rows)
        self._sources = torch.tensor(sources, dtype=torch.int64, device=device)
        self._targets = torch.tensor(targets, dtype=torch.int64, device=device)

    def attend(
        self,
        layer_index: int,
        q_BHTE: Tensor,
        k_BGTE: Tensor,
        v_BGTE: Tensor,
        mask_BTS: Tensor | None,
    ) -> Tensor:
        """Attention within the families; prompts whose answers go on are kept in their rows."""
        assert mask_BTS is None, "a step has its own masks"
        k_XGE, v_XGE = self._rows.layers[layer_index]
        k_SGE, v_SGE = self._all_sources(k_XGE, k_BGTE), self._all_sources(v_XGE, v_BGTE)
        y_BTHE = torch.empty_like(q_BHTE.transpose(1, 2))
        for family, mask_TS in self._families:
            own = slice(family.own.start, family.own.stop)
            y_BHTE = F.scaled_dot_product_attention(
                q_BHTE[:, :, own],
                self._of_family(k_SGE, family),
                self._of_family(v_SGE, family),
                attn_mask=mask_TS,
                is_causal=mask_TS is None,
                enable_gqa=True,
            )
            y_BTHE[:, own] = y_BHTE.transpose(1, 2)
        k_XGE.index_copy_(0, self._targets, k_SGE[self._sources])
        v_XGE.index_copy_(0, self._targets, v_SGE[self._sources])
        return y_BTHE.transpose(1, 2)

    def _all_sources(self, x_XGE: Tensor, x_BGTE: Tensor) -> Tensor:
        own_TGE = x_BGTE[0].transpose(0, 1)
        start = self._rows.trunk * self._rows.room
        return torch.cat([x_XGE[start : start + self._trunk], own_TGE])

    def _of_family(self, x_SGE: Tensor, family: Family) -> Tensor:
        own = range(self._trunk + family.own.start, self._trunk + family.own.stop)
        pieces = [x_SGE[piece.start : piece.stop] for piece in (*family.context, own)]
        x_SGE = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        return x_SGE.transpose(0, 1)[None]


class Going:
    """The attention of answers that go on by a token each, as `mistral.Store` has it."""

    def __init__(
        self, rows: Rows, row_B: Tensor, length_B: Tensor, num_keys: int, start: int | None
    ) -> None:
        """The state of each answer.

        Args:
            rows: Where earlier tokens are.
            row_B: The row of each answer.
            length_B: Tokens in it, before this one.
            num_keys: Tokens of a row that are looked at: more than the longest has.
            start: The first of the rows if they are neighbours, in their order; None if they
                have to be collected.
        """
        self._rows, self._row_B, self._start = rows, row_B, start
        self._num_keys = num_keys
        self._target_B = row_B * rows.room + length_B
        key_S = torch.arange(num_keys, device=row_B.device)
        mask_BS = key_S <= length_B[:, None]
        if rows.window is not None:
            mask_BS = mask_BS & (key_S > length_B[:, None] - rows.window)
        self._mask_B11S = mask_BS[:, None, None]

    def attend(
        self,
        layer_index: int,
        q_BHTE: Tensor,
        k_BGTE: Tensor,
        v_BGTE: Tensor,
        mask_BTS: Tensor | None,
    ) -> Tensor:
        """Attention of each token to its own row, which it is added to."""
        assert mask_BTS is None, "lengths say what is seen"
        k_XGE, v_XGE = self._rows.layers[layer_index]
        k_XGE.index_copy_(0, self._target_B, k_BGTE[:, :, 0])
        v_XGE.index_copy_(0, self._target_B, v_BGTE[:, :, 0])
        # The query heads that share a kv head are its queries: no copies of keys, no second mask.
        grouped_BGHE = torch.unflatten(q_BHTE[:, :, 0], 1, (k_BGTE.shape[1], -1))
        y_BGHE = F.scaled_dot_product_attention(
            grouped_BGHE, self._seen(k_XGE), self._seen(v_XGE), attn_mask=self._mask_B11S
        )
        return y_BGHE.flatten(1, 2)[:, :, None]

    def _seen(self, x_XGE: Tensor) -> Tensor:
        x_NSGE = torch.unflatten(x_XGE, 0, (-1, self._rows.room))
        if self._start is None:
            x_BSGE = x_NSGE[self._row_B, : self._num_keys]
        else:
            x_BSGE = x_NSGE[self._start : self._start + len(self._row_B), : self._num_keys]
        return x_BSGE.transpose(1, 2)


def _copies(packed: Packed, rows: Rows) -> tuple[list[int], list[int]]:
    """Sources, and the places of all rows where they go."""
    sources: list[int] = []
    targets: list[int] = []
    for row, path in packed.copies:
        path_sources = [source for piece in path for source in piece]
        start = row * rows.room
        if row == rows.trunk:  # what is in the trunk and stays need not be copied
            stays = min(packed.trunk, len(path[0])) if path and path[0].start == 0 else 0
            path_sources, start = path_sources[stays:], start + stays
        sources += path_sources
        targets += range(start, start + len(path_sources))
    return sources, targets


def _mask(family: Family, packed: Packed, rows: Rows) -> Tensor | None:
    """What is added to a family's scores, [T, S]; None if each token sees all before it."""
    own, trunk, window = family.own, packed.trunk, rows.window
    position_T = torch.tensor(packed.positions[own.start : own.stop])
    is_windowed = window is not None and max(packed.positions) >= window
    if len(family.parts) == 1 and not family.context and not is_windowed:
        return None
    pieces = (*family.context, range(trunk + own.start, trunk + own.stop))
    sources = [source for piece in pieces for source in piece]
    column_of = {source: column for column, source in enumerate(sources)}
    sees_TS = torch.zeros(len(own), len(sources), dtype=torch.bool)
    for part in family.parts:
        part_rows = slice(part.own.start - own.start, part.own.stop - own.start)
        first = column_of[trunk + part.own.start]
        sees_TS[part_rows, [column_of[source] for piece in part.seen for source in piece]] = True
        sees_TS[part_rows, first : first + len(part.own)].fill_(True).tril_()
    if window is not None and is_windowed:
        position_S = torch.tensor([_position(source, packed) for source in sources])
        sees_TS &= position_T[:, None] - position_S < window
    k_XGE, _ = rows.layers[0]
    mask_TS = torch.zeros(sees_TS.shape, dtype=k_XGE.dtype).masked_fill(~sees_TS, float("-inf"))
    return mask_TS.to(k_XGE.device)


def _position(source: int, packed: Packed) -> int:
    return source if source < packed.trunk else packed.positions[source - packed.trunk]
