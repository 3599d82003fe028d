"""The vision tower: SigLIP's transformer over the patches of many images of any shape.

The patches of all images lie in one sequence, image after image, without padding; attention stays
within an image. An image here is a crop.

Axes: P patches of all crops, K pixel values of a patch, C vision width, H heads, E head width,
I crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import accumulate, groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idefics2.config import VisionConfig


@cache
def has_varlen() -> bool:
    """True if torch has attention over packed sequences, as it does since 2.10.

    Called only on CUDA: looking for it imports torch's compiler, which takes two seconds.
    """
    return find_spec("torch.nn.attention.varlen") is not None


class Run(NamedTuple):
    """Neighbouring images of equal length, which attention takes in one batch."""

    num_images: int
    length: int
    """Number of patches of each."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How images share one sequence of patches."""

    lengths: tuple[int, ...]
    """Number of patches of each image, in the order of the sequence."""
    bounds: Tensor
    """The first patch of each image, and the end; int32 on the model's device."""

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Packing:
        """The packing of images with these numbers of patches."""
        bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        return cls(lengths=tuple(lengths), bounds=bounds)

    @property
    def runs(self) -> list[Run]:
        """The images in runs of equal length."""
        return [Run(len(list(group)), length) for length, group in groupby(self.lengths)]


class VisionTower(nn.Module):
    """Patches to features: linear embedding, learned positions, pre-norm transformer."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.positions_per_side = config.positions_per_side
        self.patch_embedding = nn.Linear(config.patch_values, config.width)
        self.position_embedding = nn.Embedding(config.positions_per_side**2, config.width)
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_layers))
        self.post_layernorm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x_PK: Tensor, grid: Sequence[tuple[int, int]], packing: Packing) -> Tensor:
        """Features x_PC of normalised pixels; `grid` has each image's rows and columns."""
        positions = [position_ids(*shape, self.positions_per_side) for shape in grid]
        x_PC = self.patch_embedding(x_PK)
        x_PC = x_PC + self.position_embedding(torch.cat(positions).to(x_PK.device))
        for layer in self.layers:
            x_PC = layer(x_PC, packing)
        y_PC: Tensor = self.post_layernorm(x_PC)
        return y_PC


class VisionLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.self_attn = VisionAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = VisionMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x_PC: Tensor, packing: Packing) -> Tensor:
        x_PC = x_PC + self.self_attn(self.layer_norm1(x_PC), packing)
        x_PC = x_PC + self.mlp(self.layer_norm2(x_PC))
        return x_PC


class VisionAttention(nn.Module):
    """Multi-head attention within each image."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.q_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x_PC: Tensor, packing: Packing) -> Tensor:
        q_PHE = self.q_proj(x_PC).unflatten(-1, (self.num_heads, -1))
        k_PHE = self.k_proj(x_PC).unflatten(-1, (self.num_heads, -1))
        v_PHE = self.v_proj(x_PC).unflatten(-1, (self.num_heads, -1))
        y_PHE = attend_within_images(q_PHE, k_PHE, v_PHE, packing)
        y_PC: Tensor = self.out_proj(y_PHE.flatten(1))  # C is H * E
        return y_PC


class VisionMLP(nn.Module):
    """fc2(gelu(fc1(x))), with the tanh form of GELU."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x_PC: Tensor) -> Tensor:
        y_PC: Tensor = self.fc2(F.gelu(self.fc1(x_PC), approximate="tanh"))
        return y_PC


def attend_within_images(q_PHE: Tensor, k_PHE: Tensor, v_PHE: Tensor, packing: Packing) -> Tensor:
    """Attention y_PHE of each patch to the patches of its own image."""
    is_half = q_PHE.dtype in (torch.float16, torch.bfloat16)
    fits_flash = q_PHE.is_cuda and is_half and q_PHE.shape[-1] % 8 == 0
    if fits_flash and has_varlen():
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = packing.bounds, max(packing.lengths)
        y_PHE = varlen_attn(q_PHE, k_PHE, v_PHE, bounds, bounds, longest, longest)
        assert isinstance(y_PHE, Tensor)
        return y_PHE
    # Split, not sliced: a slice's gradient is as large as what it was cut from
    lengths = [run.num_images * run.length for run in packing.runs]
    divided = (torch.split(x_PHE, lengths) for x_PHE in (q_PHE, k_PHE, v_PHE))
    parts = []
    for run, *qkv in zip(packing.runs, *divided, strict=True):
        q_IHPE, k_IHPE, v_IHPE = (torch.unflatten(x, 0, run).transpose(1, 2) for x in qkv)
        y_IHPE = F.scaled_dot_product_attention(q_IHPE, k_IHPE, v_IHPE)
        parts.append(y_IHPE.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)


def position_ids(rows: int, columns: int, side: int) -> Tensor:
    """Index of each patch's learned position in a table of side x side; one image, row by row."""
    return (buckets(rows, side)[:, None] * side + buckets(columns, side)).flatten()


def buckets(count: int, side: int) -> Tensor:
    """Positions along one axis: which of its `side` equal parts each of `count` patches begins in.

    Exact arithmetic would give floor(i * side / count). The released models were trained with
    float32 coordinates, 18 of which (side 70; counts 25, 49, 50 and 55) fall just below the
    boundary that they should meet. These coordinates do so too: i * (1 / count), each operation
    rounded once, as in transformers 5.23. The code at the release is the same formula through
    torch.arange, whose vectorised sums round otherwise in 3 places (counts 49 and 58).
    """
    boundaries = torch.arange(1 / side, 1.0, 1 / side, dtype=torch.float32, device="cpu")
    step = 1.0 / torch.tensor(count, dtype=torch.float32, device="cpu")
    coordinates = torch.arange(count, dtype=torch.float32, device="cpu") * step
    return torch.bucketize(coordinates, boundaries, right=True)
