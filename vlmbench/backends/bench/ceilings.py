"""What a machine can do at most: the rates that a model's stages are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SECONDS = 0.3
"""For each of the three measurements."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Measured, not promised by a data sheet."""

    flops_per_s: float
    """Of a large matrix product in the model's dtype, by the fastest that a model here uses."""

    bytes_per_s: float
    """Read and written in copying more than the caches hold."""


def measure(device: str, dtype: str) -> Ceilings:
    """On a device as torch names it, in a second or so."""
    import torch

    from idefics2 import onednn

    is_cuda = torch.device(device).type == "cuda"
    kind = getattr(torch, dtype)
    side, num_values = (8192, 2**29) if is_cuda else (1024, 2**26)
    one = torch.ones((side, side), device=device, dtype=kind)
    out = torch.empty_like(one)
    layer = torch.nn.Linear(side, side, bias=False, device=device, dtype=kind)
    layer = onednn.prepare(layer.requires_grad_(False))
    products: tuple[Callable[[], object], ...] = (
        lambda: torch.mm(one, one, out=out),
        lambda: layer(one),
    )
    gemm_s = min(_seconds(product, is_cuda) for product in products)
    source = torch.ones(num_values, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy_s = _seconds(lambda: target.copy_(source), is_cuda)
    return Ceilings(2 * side**3 / gemm_s, 2 * num_values / copy_s)


def _seconds(call: Callable[[], object], is_cuda: bool) -> float:
    """Of one call, the quickest of as many as there is time for; on a GPU by its own clock."""
    from torch import cuda

    new_event: Any = cuda.Event
    call()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        if is_cuda:
            events = [new_event(enable_timing=True) for _ in range(2)]
            events[0].record()
            call()
            events[1].record()
            events[1].synchronize()
            best = min(best, events[0].elapsed_time(events[1]) / 1e3)
        else:
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
    return best
