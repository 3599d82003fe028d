"""Norm, MLP and attention, which the resampler, the decoder and the gated blocks share.

Axes: B sequences, T query tokens, S keys, H query heads, G kv heads, E head width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), scaled; computed in float32 (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last axis."""
        normal: Tensor = _Normal.apply(x.float(), self.eps)  # type: ignore[no-untyped-call]
        return self.weight * normal.to(x.dtype)


class _Normal(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps); its gradient reads the activations three times, autograd's ten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        y, scale = ctx.saved_tensors
        (grad,) = grads
        along = (grad * y).mean(-1, keepdim=True)
        return torch.addcmul(grad, y, along, value=-1).mul_(scale), None


class GatedMLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)) (Shazeer, 2020)."""

    def __init__(self, width: int, mlp_width: int, out_width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, mlp_width, bias=False)
        self.up_proj = nn.Linear(width, mlp_width, bias=False)
        self.down_proj = nn.Linear(mlp_width, out_width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps the last axis."""
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class KeysValues(NamedTuple):
    """Keys and values of one layer's attention."""

    k_BGSE: Tensor
    v_BGSE: Tensor


class MaskedAttention(NamedTuple):
    """Attention among new tokens alone, without a cache."""

    mask_BTS: Tensor | None = None
    """The keys that each token attends to; None: itself and all before it."""

    def attend(self, layer_index: int, q_BHTE: Tensor, k_BGTE: Tensor, v_BGTE: Tensor) -> Tensor:
        """Attention y_BHTE, the same in every layer."""
        return attend(q_BHTE, k_BGTE, v_BGTE, self.mask_BTS)


def attend(q_BHTE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, mask_BTS: Tensor | None) -> Tensor:
    """Attention y_BHTE to the keys where the mask is true.

    Without a mask T is S, and each token attends to itself and all before it.
    """
    return F.scaled_dot_product_attention(
        q_BHTE,
        k_BGSE,
        v_BGSE,
        attn_mask=None if mask_BTS is None else mask_BTS[:, None],
        is_causal=mask_BTS is None,
        enable_gqa=True,
    )
