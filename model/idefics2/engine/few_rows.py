"""The decoder's matrix products on a CPU, where they have few rows.

oneDNN, with the weights in a layout of its own, computes products of 1 to 32 rows 1.3 to 2.7 times
as fast as what `torch.nn.Linear` calls, and products of hundreds of rows no faster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

MAX_ROWS = 32
ROWS = 8
"""The layout is made for so many; it hardly matters."""

MEMORY_SHARE = 8
"""The second copy of the weights takes at most one part in so many of the machine's memory."""


class FewRows:
    """A second copy of linear layers' weights, used by the layers themselves when asked."""

    def __init__(self, linears: list[nn.Linear]) -> None:
        self._linears = linears
        self._packed: list[tuple[int, Tensor]] = []

    @classmethod
    def of(cls, *modules: nn.Module) -> FewRows | None:
        """For all linear layers in some modules; None where it cannot help, or needs too much."""
        linears = [m for module in modules for m in module.modules() if type(m) is nn.Linear]
        weights = [linear.weight for linear in linears]
        fits = sum(w.nbytes for w in weights) <= _memory_bytes() / MEMORY_SHARE
        suits = all(
            w.device.type == "cpu" and w.dtype == torch.float32 and not w.is_inference()
            for w in weights
        )
        return cls(linears) if fits and suits and _has_operators() else None

    @contextmanager
    def used(self, num_rows: int) -> Iterator[None]:
        """Within, the layers compute with the copy, if the products have few enough rows."""
        if num_rows > MAX_ROWS:
            yield
            return
        versions = [linear.weight._version for linear in self._linears]
        if versions != [version for version, _ in self._packed]:  # new, or trained since
            weights = [linear.weight for linear in self._linears]
            self._packed = [(weight._version, _packed(weight)) for weight in weights]
        try:
            for linear, (_, packed) in zip(self._linears, self._packed, strict=True):
                linear.forward = partial(_product, packed, linear.bias)  # type: ignore[method-assign]
            yield
        finally:
            for linear in self._linears:
                linear.__dict__.pop("forward", None)


def _packed(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
    return packed


def _product(packed: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


def _has_operators() -> bool:
    """They are torch's own, for its compiler; nothing promises that they stay."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    mkldnn: Any = torch.backends.mkldnn
    return mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
