"""Flamingo's architecture (Alayrac et al., 2022): gated cross-attention between decoder layers.

The block is that of Idefics (Laurencon et al., 2023), with the decoder's grouped kv heads. An image
here is a crop.

Axes: B sequences, T query tokens, D width, H query heads, G kv heads, E head width, I crops,
R latents of a crop, L visual tokens of all crops (I * R), S keys of the text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idefics2.config import TextConfig
from idefics2.layers import GatedMLP, KeysValues, RMSNorm

Look: TypeAlias = Callable[[Tensor], Tensor]
"""A block's attention: queries of tokens to what they see of the images."""


class VisualAttention(Protocol):
    """What the gated blocks attend to: images of one batch, or those that an engine keeps."""

    def attend(self, block_index: int, q_BHTE: Tensor) -> Tensor:
        """Attention y_BHTE to the images in one block; zeros for tokens that see none."""
        ...


class VisualContext(NamedTuple):
    """The images of a batch, each token's by a mask."""

    keys_values: tuple[KeysValues, ...]
    """Each block's keys and values [1, G, L, E], shared by all sequences."""
    mask_BTL: Tensor
    """Which visual tokens each token attends to."""

    @classmethod
    def of(
        cls,
        keys_values: tuple[KeysValues, ...],
        images_BS: Tensor,
        same_BTS: Tensor,
        num_latents: int,
    ) -> VisualContext:
        """A context in which each token attends to the last image at or before it in its sequence.

        `images_BS` numbers the images at their `<image>` tokens, from 1, and is 0 elsewhere;
        `same_BTS` is true for the keys of a token's own sequence up to itself.
        """
        last_BT = (images_BS[:, None] * same_BTS).amax(-1)
        num_visual_tokens = keys_values[0].k_BGSE.shape[2]
        image_L = 1 + torch.arange(num_visual_tokens, device=last_BT.device) // num_latents
        return cls(keys_values, last_BT[..., None] == image_L)

    def attend(self, block_index: int, q_BHTE: Tensor) -> Tensor:
        """Attention y_BHTE to the images in one block; zeros for tokens that see none."""
        k_BGSE, v_BGSE = self.keys_values[block_index]
        sees_BT = self.mask_BTL.any(-1)
        # A softmax over nothing is NaN: tokens that see no image attend to all, and are zeroed.
        mask_BTL = self.mask_BTL | ~sees_BT[..., None]
        y_BHTE = F.scaled_dot_product_attention(
            q_BHTE,
            k_BGSE.expand(len(q_BHTE), -1, -1, -1),
            v_BGSE.expand(len(q_BHTE), -1, -1, -1),
            attn_mask=mask_BTL[:, None],
            enable_gqa=True,
        )
        return y_BHTE * sees_BT[:, None, :, None]


class GatedCrossAttention(nn.Module):
    """x + tanh(a) attention(norm(x), images), then x + tanh(b) mlp(norm(x)); a and b start at 0."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.cross_attn = CrossAttention(config)
        self.mlp = GatedMLP(config.width, config.mlp_width, config.width)
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)
        self.alpha_cross_attn = nn.Parameter(torch.zeros(1))
        self.alpha_dense = nn.Parameter(torch.zeros(1))

    def keys_values(self, latents_IRD: Tensor) -> KeysValues:
        """Keys and values [1, G, L, E] of all images."""
        return self.cross_attn.keys_values(latents_IRD)

    def forward(self, x_BTD: Tensor, context: VisualAttention | None, index: int) -> Tensor:
        """Output x_BTD; without images, or for a token that sees none, only the MLP adds to it."""
        if context is not None:
            y_BTD = self.cross_attn(self.input_layernorm(x_BTD), partial(context.attend, index))
            x_BTD = x_BTD + self.alpha_cross_attn.tanh() * y_BTD
        x_BTD = x_BTD + self.alpha_dense.tanh() * self.mlp(self.post_attention_layernorm(x_BTD))
        return x_BTD


class CrossAttention(nn.Module):
    """Queries from the text, keys and values from the images; no positions."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        query_width = config.num_heads * config.head_width
        kv_width = config.num_kv_heads * config.head_width
        self.q_proj = nn.Linear(config.width, query_width, bias=False)
        self.k_proj = nn.Linear(config.width, kv_width, bias=False)
        self.v_proj = nn.Linear(config.width, kv_width, bias=False)
        self.o_proj = nn.Linear(query_width, config.width, bias=False)

    def keys_values(self, latents_IRD: Tensor) -> KeysValues:
        """Keys and values [1, G, L, E] of all images."""
        k_LGE = self.k_proj(latents_IRD.flatten(0, 1)).unflatten(-1, (-1, self.head_width))
        v_LGE = self.v_proj(latents_IRD.flatten(0, 1)).unflatten(-1, (-1, self.head_width))
        return KeysValues(k_LGE.transpose(0, 1)[None], v_LGE.transpose(0, 1)[None])

    def forward(self, x_BTD: Tensor, look: Look) -> Tensor:
        """Attention y_BTD to the images; zeros for tokens that see none."""
        q_BHTE = self.q_proj(x_BTD).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        y_BHTE = look(q_BHTE)
        y_BTD: Tensor = self.o_proj(y_BHTE.transpose(1, 2).flatten(2))
        return y_BTD
