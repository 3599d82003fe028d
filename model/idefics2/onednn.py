"""Faster matrix products on CPUs, applied to a finished model from outside.

Both tricks call oneDNN, which torch contains, through operators that torch has for its compiler:

- `prepare`: torch's own products are MKL's, which leaves AVX-512 to its maker's processors. oneDNN
  does not: on an AMD EPYC of the fifth generation products of 1,024 and 4,096 rows in 64 to 512
  columns take 0.4 to 0.65 times as long (one thread, float32, torch 2.13).
- `PackedWeights`: with the weights in a layout of its own, oneDNN computes products of 1 to 32
  rows 1.3 to 2.7 times as fast as `torch.nn.Linear`, and products of hundreds of rows no faster.
"""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)

CPU_INFO = Path("/proc/cpuinfo")

MAX_ROWS = 32
"""Most rows of a product that packed weights make faster."""

PACKED_FOR_ROWS = 8
"""The number of rows that oneDNN is told. A layout for 32 does as well; one for 1 is slower for
more."""

MEMORY_SHARE = 8
"""Packed weights take at most one part in so many of the machine's memory."""


def prepare(module: Module) -> Module:
    """Makes all linear layers of a module compute by oneDNN where this CPU gains from it.

    In place; parameters, their names and their values stay, and gradients are computed too. What
    oneDNN does not suit (another device, another dtype than float32, autocast) is left to torch at
    each call. Preparing twice changes nothing.
    """
    if prefers_onednn():
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = Linear
    return module


def has_onednn() -> bool:
    """True if torch has the private operators that are used here; no release promises them."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    mkldnn: Any = torch.backends.mkldnn
    return mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


@cache
def prefers_onednn() -> bool:
    """True if this machine's processor has AVX-512, but is not of MKL's maker.

    Decided by the processor's name, so that all processes of a machine compute alike.
    """
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return False
    found = {
        name.strip(): value.split() for name, _, value in (line.partition(":") for line in lines)
    }
    is_intel = found.get("vendor_id", ["GenuineIntel"]) == ["GenuineIntel"]
    return not is_intel and "avx512f" in found.get("flags", ()) and has_onednn()


class Linear(nn.Linear):
    """A linear layer by oneDNN; `prepare` turns layers into it."""

    def forward(self, input: Tensor) -> Tensor:
        if not self._suits_onednn(input):
            return super().forward(input)
        if torch.is_grad_enabled():
            y: Tensor = _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return y
        return product(input, self.weight, self.bias)

    def _suits_onednn(self, x: Tensor) -> bool:
        return (
            x.device.type == self.weight.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.numel() > 0
            and _is_plain(self)
            and not torch.is_autocast_enabled("cpu")
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Input times the transposed weight, plus the bias; no gradients, arbitrary strides."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


class _Product(torch.autograd.Function):
    """The forward and backward pass of `torch.nn.functional.linear`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(gradient, weight.t()) if needs_x else None,
            product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


class PackedWeights:
    """Copies of modules whose linear layers hold their weights in oneDNN's layout.

    The copies share all other parameters with the modules, which are left as they are.
    """

    def __init__(self, *modules: nn.Module) -> None:
        """The copies are made when they are first asked for."""
        self._modules = modules
        self._copies: tuple[nn.Module, ...] | None = None
        self._made_of: list[tuple[int, int]] = []

    def refresh(self) -> None:
        """Drops the copies if the weights have changed since they were made.

        Reads all weights, which takes a tenth of the time to copy them. An exchange of entries
        within a layer goes unnoticed.
        """
        if self._copies is None:
            return
        if self._copies is self._modules or self._made_of != _state(self._modules):
            self._copies = None  # which is decided anew

    def modules(self, num_rows: int) -> tuple[nn.Module, ...]:
        """What to compute products of so many rows with: the copies, or the modules themselves.

        The modules themselves for more than 32 rows, on another device, in another dtype than
        float32, or where the copies would take too much memory.
        """
        if num_rows > MAX_ROWS:
            return self._modules
        if self._copies is None:
            self._copies = _packed(self._modules)
            if self._copies is not self._modules:
                self._made_of = _state(self._modules)
        return self._copies


class PackedLinear(nn.Module):
    """A linear layer for inference with few rows."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        reorder: Any = torch.ops.mkldnn._reorder_linear_weight
        self.weight = reorder(layer.weight.detach(), PACKED_FOR_ROWS)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias)


def _packed(modules: tuple[nn.Module, ...]) -> tuple[nn.Module, ...]:
    """Copies of the modules; the modules themselves where packing does not suit them."""
    weights = [layer.weight for layer in _linears(modules)]
    fits = sum(weight.nbytes for weight in weights) <= _memory_bytes() / MEMORY_SHARE
    suits = all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights)
    if not (fits and suits and has_onednn()):
        return modules
    # What `deepcopy` finds here it takes instead of a copy
    replaced: dict[int, Any] = {
        id(tensor): tensor
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    replaced |= {id(layer): PackedLinear(layer) for layer in _linears(modules)}
    return tuple(copy.deepcopy(module, replaced) for module in modules)


def _linears(modules: tuple[nn.Module, ...]) -> list[nn.Linear]:
    return [
        layer
        for module in modules
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
        and type(layer) in (nn.Linear, Linear)
        and _is_plain(layer)
        and "forward" not in vars(layer)  # somebody else's is kept
    ]


def _is_plain(layer: nn.Linear) -> bool:
    """False for a weight that is no ordinary tensor, such as a quantised one."""
    return type(layer.weight) is nn.Parameter


def _state(modules: tuple[nn.Module, ...]) -> list[tuple[int, int]]:
    """Identity of each parameter, and a digest of its values if it is a linear layer's weight.

    Unlike a tensor's version, a digest changes with what is written through `.data` too.
    """
    digests = {id(layer.weight): _digest(layer.weight.detach()) for layer in _linears(modules)}
    parameters = [p for module in modules for p in module.parameters()]
    return [(id(parameter), digests.get(id(parameter), 0)) for parameter in parameters]


def _digest(weight: Tensor) -> int:
    """The sum of the weight's bits as whole numbers, modulo 2 ** 64."""
    is_aligned = weight.storage_offset() * weight.itemsize % 8 == 0
    weight = weight.contiguous() if is_aligned else weight.clone()
    bits = weight.view(torch.uint8).flatten()
    whole = len(bits) // 8 * 8
    return int(bits[:whole].view(torch.int64).sum()) ^ int(bits[whole:].sum())


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
