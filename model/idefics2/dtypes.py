"""Which numbers a model computes in, unless it is told."""

from __future__ import annotations

import torch

BFLOAT16_UNITS = (8, 0)
"""CUDA's compute capability since which there are any: Ampere, 2020."""


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on an accelerator, float16 on an NVIDIA GPU that lacks its units, float32 on a CPU.

    What the checkpoint stores does not matter: the released one's float32 does not fit on most
    GPUs, and is no more accurate than the bfloat16 that it was trained in.
    """
    if device.type == "cpu":
        return torch.float32
    is_nvidia = device.type == "cuda" and torch.version.hip is None
    if is_nvidia and torch.cuda.get_device_capability(device) < BFLOAT16_UNITS:
        return torch.float16
    return torch.bfloat16
