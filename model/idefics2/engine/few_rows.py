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

from idefics2.onednn import Linear, has_onednn, product

MAX_ROWS = 32
ROWS = 8
"""What the layout is made for; one made for 32 does as well, one for 1 is slower for more."""

MEMORY_SHARE = 8
"""The second copy of the weights takes at most one part in so many of the machine's memory."""


class FewRows:
    """A second copy of linear layers' weights, used by the layers themselves when asked."""

    def __init__(self, *modules: nn.Module) -> None:
        """For all linear layers in some modules."""
        self._modules = modules
        self._packed: list[tuple[nn.Linear, Tensor]] | None = None
        self._digests: list[int] = []

    def refresh(self) -> None:
        """Drops the copy if it is not that of the weights any more.

        It reads the weights, which takes a tenth of the time to copy them. An exchange of entries
        within a layer goes unnoticed.
        """
        if not self._packed or self._digests != _digests(_linears(self._modules)):
            self._packed = None

    @contextmanager
    def used(self, num_rows: int) -> Iterator[None]:
        """Within, the layers compute with the copy, if it helps products of so many rows.

        The copy is made when it is first needed; empty, it leaves all to torch: on another device,
        in other numbers than float32, or where it would take too much memory.
        """
        if num_rows > MAX_ROWS:
            yield
            return
        if self._packed is None:
            linears = _linears(self._modules)
            self._packed = _pack(linears)
            self._digests = _digests(linears) if self._packed else []
        try:
            for linear, packed in self._packed:
                linear.forward = partial(_product, packed, linear.bias)  # type: ignore[method-assign]
            yield
        finally:
            for linear, _ in self._packed:
                linear.__dict__.pop("forward", None)


def _linears(modules: tuple[nn.Module, ...]) -> list[nn.Linear]:
    return [
        layer
        for module in modules
        for layer in module.modules()
        if type(layer) is Linear and "forward" not in vars(layer)  # another's hook stays
    ]


def _digests(linears: list[nn.Linear]) -> list[int]:
    """For each layer, the sum of its weights' bits as whole numbers, modulo 2 ** 64.

    Unlike a tensor's version, it changes with what is written through `.data` too.
    """
    return [_digest(linear.weight.detach()) for linear in linears]


def _digest(weight: Tensor) -> int:
    is_aligned = weight.storage_offset() * weight.itemsize % 8 == 0
    weight = weight.contiguous() if is_aligned else weight.clone()
    bits = weight.view(torch.uint8).flatten()
    whole = len(bits) // 8 * 8
    return int(bits[:whole].view(torch.int64).sum()) ^ int(bits[whole:].sum())


def _pack(linears: list[nn.Linear]) -> list[tuple[nn.Linear, Tensor]]:
    weights = [linear.weight for linear in linears]
    fits = sum(weight.nbytes for weight in weights) <= _memory_bytes() / MEMORY_SHARE
    suits = all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights)
    if not (fits and suits and has_onednn()):
        return []
    reorder: Any = torch.ops.mkldnn._reorder_linear_weight
    return [(linear, reorder(linear.weight.detach(), ROWS)) for linear in linears]


def _product(packed: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return product(x, packed, bias)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
