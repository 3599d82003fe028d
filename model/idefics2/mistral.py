"""Mistral's decoder: grouped-query attention with rotary positions, RMSNorm and gated MLPs.

Axes: B sequences, T query tokens, S keys (cached tokens and new ones), D width, H query heads,
G kv heads, E head width, I crops, R latents of a crop, W tokens whose hidden states are wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn

from idefics2.config import Idefics2Config, TextConfig
from idefics2.cross_attention import GatedCrossAttention, VisualAttention
from idefics2.layers import GatedMLP, KeysValues, RMSNorm

Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A layer's attention: queries, keys and values of the new tokens to what these attend to."""


class Attention(Protocol):
    """What tokens attend to, beside one another: with a KV cache or without."""

    def attend(self, layer_index: int, q_BHTE: Tensor, k_BGTE: Tensor, v_BGTE: Tensor) -> Tensor:
        """Attention y_BHTE of the new tokens in one layer; a cache keeps their keys and values."""
        ...


class Rotation(NamedTuple):
    """Cosines and sines of every position (Su et al., 2021), in the dtype of the activations."""

    cos_BTE: Tensor
    sin_BTE: Tensor

    @classmethod
    def of(
        cls, positions_BT: Tensor, head_width: int, theta: float, dtype: torch.dtype
    ) -> Rotation:
        """The rotation by angles position * theta^(-2i / head_width), which are float32."""
        exponents = torch.arange(0, head_width, 2, device=positions_BT.device).float() / head_width
        angles_BTE = (positions_BT[..., None].float() * (1.0 / theta**exponents)).repeat(1, 1, 2)
        return cls(angles_BTE.cos().to(dtype), angles_BTE.sin().to(dtype))

    def __call__(self, x_BTHE: Tensor) -> Tensor:
        """Rotates each pair (i, i + E / 2) of the channels of a query or key."""
        first, second = x_BTHE.chunk(2, dim=-1)
        turned_BTHE = torch.cat([-second, first], dim=-1)
        return x_BTHE * self.cos_BTE[:, :, None] + turned_BTHE * self.sin_BTE[:, :, None]


class MistralDecoder(nn.Module):
    """Embeddings to the last hidden states."""

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__()
        text = config.text
        self.head_width, self.rope_theta = text.head_width, text.rope_theta
        self.embed_tokens = nn.Embedding(text.vocab_size, text.width)
        self.layers = nn.ModuleList(MistralLayer(text) for _ in range(text.num_layers))
        self.norm = RMSNorm(text.width, text.norm_eps)
        self.cross_layer_interval = config.cross_layer_interval
        self.cross_layers = nn.ModuleList(
            GatedCrossAttention(text) for _ in range(config.num_gated_blocks)
        )

    def read_images(self, latents_IRD: Tensor) -> tuple[KeysValues, ...]:
        """Keys and values of the images, for each gated block."""
        gated = cast("list[GatedCrossAttention]", list(self.cross_layers))
        return tuple(block.keys_values(latents_IRD) for block in gated)

    def forward(
        self,
        x_BTD: Tensor,
        positions_BT: Tensor,
        attention: Attention,
        context: VisualAttention | None = None,
        wanted_W: Tensor | None = None,
    ) -> Tensor:
        """Hidden states x_BTD after the final norm; x_BWD of the tokens at `wanted_W` if given.

        `context` is what the gated blocks attend to. Tokens that are not wanted are only attended
        to: the last layer computes neither an output projection nor an MLP for them.
        """
        rotation = Rotation.of(positions_BT, self.head_width, self.rope_theta, x_BTD.dtype)
        for index, layer in enumerate(self.layers):
            if self.cross_layers and index % self.cross_layer_interval == 0:
                gated_index = index // self.cross_layer_interval
                x_BTD = self.cross_layers[gated_index](x_BTD, context, gated_index)
            attend = partial(attention.attend, index)
            if wanted_W is None or index < len(self.layers) - 1:
                x_BTD = layer(x_BTD, rotation, attend)
            else:
                x_BTD = layer(x_BTD, rotation, _of_some(attend, wanted_W), wanted_W)
        y_BTD: Tensor = self.norm(x_BTD)
        return y_BTD


def _of_some(attend: Attend, wanted_W: Tensor) -> Attend:
    """Attention of some tokens only, to all."""
    return lambda q_BHTE, k_BGTE, v_BGTE: attend(q_BHTE, k_BGTE, v_BGTE)[:, :, wanted_W]


class MistralLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = MistralAttention(config)
        self.mlp = GatedMLP(config.width, config.mlp_width, config.width)
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)

    def forward(
        self,
        x_BTD: Tensor,
        rotation: Rotation,
        attend: Attend,
        wanted_W: Tensor | None = None,
    ) -> Tensor:
        """Output x_BTD; of the tokens at `wanted_W` if `attend` gives the attention of these."""
        residual_BTD = x_BTD if wanted_W is None else x_BTD[:, wanted_W]
        x_BTD = residual_BTD + self.self_attn(self.input_layernorm(x_BTD), rotation, attend)
        x_BTD = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return x_BTD


class MistralAttention(nn.Module):
    """Attention in which H / G query heads share one key and value head."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        query_width = config.num_heads * config.head_width
        kv_width = config.num_kv_heads * config.head_width
        self.q_proj = nn.Linear(config.width, query_width, bias=False)
        self.k_proj = nn.Linear(config.width, kv_width, bias=False)
        self.v_proj = nn.Linear(config.width, kv_width, bias=False)
        self.o_proj = nn.Linear(query_width, config.width, bias=False)

    def forward(self, x_BTD: Tensor, rotation: Rotation, attend: Attend) -> Tensor:
        q_BTHE = self.q_proj(x_BTD).unflatten(-1, (-1, self.head_width))
        k_BTGE = self.k_proj(x_BTD).unflatten(-1, (-1, self.head_width))
        v_BTGE = self.v_proj(x_BTD).unflatten(-1, (-1, self.head_width))
        q_BHTE = rotation(q_BTHE).transpose(1, 2)
        k_BGTE = rotation(k_BTGE).transpose(1, 2)
        y_BHTE = attend(q_BHTE, k_BGTE, v_BTGE.transpose(1, 2))
        y_BTD: Tensor = self.o_proj(y_BHTE.transpose(1, 2).flatten(2))  # D is H * E
        return y_BTD
