"""Linear layers, also on CPUs for which torch's own library has no fast products.

torch calls MKL, which leaves AVX-512 to processors of its own maker. oneDNN, which is in torch too,
does not: on an AMD EPYC of the fifth generation products of 1,024 and 4,096 rows in 64 to 512
columns take 0.4 to 0.65 times as long (one thread, float32, torch 2.13).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CPU_INFO = Path("/proc/cpuinfo")


def has_onednn() -> bool:
    """Whether there are the operators that are used here.

    They are torch's own, for its compiler; nothing promises that they stay.
    """
    names = ("_reorder_linear_weight", "_linear_pointwise")
    mkldnn: Any = torch.backends.mkldnn
    return mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


@cache
def prefers_onednn() -> bool:
    """Whether this machine's processor has AVX-512, but is not of MKL's maker."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return False
    told = {
        name.strip(): value.split() for name, _, value in (line.partition(":") for line in lines)
    }
    is_others = told.get("vendor_id", ["GenuineIntel"]) != ["GenuineIntel"]
    return is_others and "avx512f" in told.get("flags", ()) and has_onednn()


class Linear(nn.Linear):
    """`torch.nn.Linear`, by whichever is faster."""

    def forward(self, input: Tensor) -> Tensor:
        if not (prefers_onednn() and self._suits_onednn(input)):
            return super().forward(input)
        if torch.is_grad_enabled():
            y: Tensor = _Linear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return y
        return product(input, self.weight, self.bias)

    def _suits_onednn(self, x: Tensor) -> bool:
        return (
            x.device.type == self.weight.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.numel() > 0
            and not torch.is_autocast_enabled("cpu")
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Input times the transposed weight, plus the bias; no gradients, arbitrary strides."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


class _Linear(torch.autograd.Function):
    """As `torch.nn.functional.linear`, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows_NO = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(gradient, weight.t()) if needs_x else None,
            product(rows_NO.t(), x.reshape(-1, x.shape[-1]).t()) if needs_weight else None,
            rows_NO.sum(0) if needs_bias else None,
        )
