"""The connector: from the features of patches to visual tokens of the decoder's width.

An image here is a crop.

Axes: P patches of all crops, C vision width, D decoder width, I crops, R latents of a crop, H query
heads, G kv heads, E head width, S keys of a crop: its patches and its latents.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idefics2.config import Idefics2Config
from idefics2.layers import GatedMLP, RMSNorm
from idefics2.vision import Packing


class Connector(nn.Module):
    """Projects features to the decoder's width and, with a perceiver, resamples them."""

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__()
        self.modality_projection: nn.Module
        if config.connector == "linear":
            self.modality_projection = nn.Linear(config.vision.width, config.text.width, bias=False)
        else:
            self.modality_projection = GatedMLP(
                config.vision.width, config.text.mlp_width, config.text.width
            )
        self.pools = config.connector == "perceiver"
        if self.pools:
            self.perceiver_resampler = PerceiverResampler(config)

    def forward(self, x_PC: Tensor, packing: Packing) -> Tensor:
        """Visual tokens: R latents of each image, [I, R, D]; without a perceiver [P, D]."""
        x_PD: Tensor = self.modality_projection(x_PC)
        if not self.pools:
            return x_PD
        latents_IRD: Tensor = self.perceiver_resampler(x_PD, packing)
        return latents_IRD


class PerceiverResampler(nn.Module):
    """Learned latents that attend to an image's patches and to one another."""

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.ones(config.perceiver.num_latents, config.text.width))
        self.layers = nn.ModuleList(
            PerceiverLayer(config) for _ in range(config.perceiver.num_layers)
        )
        self.norm = RMSNorm(config.text.width, config.perceiver.norm_eps)

    def forward(self, context_PD: Tensor, packing: Packing) -> Tensor:
        """Latents [I, R, D] of the images, given their projected patches."""
        latents_IRD = self.latents.expand(len(packing.lengths), -1, -1)
        for layer in self.layers:
            latents_IRD = layer(latents_IRD, context_PD, packing)
        y_IRD: Tensor = self.norm(latents_IRD)
        return y_IRD


class PerceiverLayer(nn.Module):
    """Attention from the latents, then a gated MLP; every layer reads the same context."""

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__()
        width, eps = config.text.width, config.perceiver.norm_eps
        self.input_latents_norm = RMSNorm(width, eps)
        self.input_context_norm = RMSNorm(width, eps)
        self.self_attn = PerceiverAttention(config)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.mlp = GatedMLP(width, 4 * width, width)

    def forward(self, latents_IRD: Tensor, context_PD: Tensor, packing: Packing) -> Tensor:
        latents_IRD = latents_IRD + self.self_attn(
            self.input_latents_norm(latents_IRD), self.input_context_norm(context_PD), packing
        )
        latents_IRD = latents_IRD + self.mlp(self.post_attention_layernorm(latents_IRD))
        return latents_IRD


class PerceiverAttention(nn.Module):
    """Queries from the latents; keys and values from the image's patches and the latents."""

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__()
        width, perceiver = config.text.width, config.perceiver
        self.head_width = perceiver.head_width
        self.q_proj = nn.Linear(width, perceiver.num_heads * perceiver.head_width, bias=False)
        self.k_proj = nn.Linear(width, perceiver.num_kv_heads * perceiver.head_width, bias=False)
        self.v_proj = nn.Linear(width, perceiver.num_kv_heads * perceiver.head_width, bias=False)
        self.o_proj = nn.Linear(perceiver.num_heads * perceiver.head_width, width, bias=False)

    def forward(self, latents_IRD: Tensor, context_PD: Tensor, packing: Packing) -> Tensor:
        q_IRHE = self.q_proj(latents_IRD).unflatten(-1, (-1, self.head_width))
        k_IRGE = self.k_proj(latents_IRD).unflatten(-1, (-1, self.head_width))
        v_IRGE = self.v_proj(latents_IRD).unflatten(-1, (-1, self.head_width))
        k_PGE = self.k_proj(context_PD).unflatten(-1, (-1, self.head_width))
        v_PGE = self.v_proj(context_PD).unflatten(-1, (-1, self.head_width))
        num_images = [run.num_images for run in packing.runs]
        num_patches = [run.num_images * run.length for run in packing.runs]
        of_images = (torch.split(x, num_images) for x in (q_IRHE, k_IRGE, v_IRGE))
        of_patches = (torch.split(x, num_patches) for x in (k_PGE, v_PGE))
        parts = []
        for run, q_IRHE, k_IRGE, v_IRGE, k_PGE, v_PGE in zip(
            packing.runs, *of_images, *of_patches, strict=True
        ):
            k_ISGE = torch.cat([k_PGE.unflatten(0, run), k_IRGE], 1)
            v_ISGE = torch.cat([v_PGE.unflatten(0, run), v_IRGE], 1)
            y_IHRE = F.scaled_dot_product_attention(
                q_IRHE.transpose(1, 2),
                k_ISGE.transpose(1, 2),
                v_ISGE.transpose(1, 2),
                enable_gqa=True,
            )
            parts.append(y_IHRE.transpose(1, 2).flatten(2))
        y_IRD: Tensor = self.o_proj(torch.cat(parts))
        return y_IRD
