"""Training in one process or many: data-parallel (DDP), or with sharded parameters (FSDP2).

Processes come from `vlmbench train --processes`, torchrun or `accelerate launch`; accelerate finds
this process's device and its place among all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from idefics2.mistral import MistralLayer
from idefics2.perceiver import PerceiverLayer
from idefics2.train.recipe import Precision
from idefics2.train.stream import Share
from idefics2.vision import VisionLayer


class Devices:
    """This process's device, and its exchanges with the others."""

    def __init__(self, *, is_sharded: bool = False) -> None:
        from accelerate import Accelerator

        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
        self.device: torch.device = self.accelerator.device
        self.share = Share(self.accelerator.process_index, self.accelerator.num_processes)
        self.is_sharded = is_sharded
        if is_sharded and self.share.num_processes == 1:
            raise ValueError("one process has nobody to share parameters with: start several")

    @property
    def is_main(self) -> bool:
        """True if this process writes files."""
        return self.share.rank == 0

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module on its device: sharded layer by layer (FSDP2), in DDP, or as it is."""
        if not self.is_sharded:
            prepared: nn.Module = self.accelerator.prepare_model(module)
            return prepared
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        module = module.to(self.device)
        mesh = init_device_mesh(self.device.type, (self.share.num_processes,))
        for layer in module.modules():
            if isinstance(layer, VisionLayer | PerceiverLayer | MistralLayer):
                fully_shard(layer, mesh=mesh)
        fully_shard(module, mesh=mesh)
        return module

    @contextmanager
    def arithmetic(self, precision: Precision) -> Iterator[None]:
        """Context of a forward pass in that precision."""
        if precision == "bfloat16":
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                yield
        else:
            yield

    def accumulates(self, module: nn.Module, is_last: bool) -> Any:
        """Context of one micro-batch: gradients are reduced after the last.

        Sharded ones are reduced after each: whole gradients would not fit beside the shards.
        """
        return nullcontext() if is_last or self.is_sharded else self.accelerator.no_sync(module)

    def total(self, value: float) -> float:
        """The sum over processes."""
        return self._reduced(value, "sum")

    def most(self, value: int) -> int:
        """The maximum over processes."""
        return int(self._reduced(value, "max"))

    def gather(self, value: Any) -> list[Any]:
        """Each process's value, in all of them."""
        if self.share.num_processes == 1:
            return [value]
        values: list[Any] = [None] * self.share.num_processes
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """A barrier: returns when all processes have called it."""
        self.accelerator.wait_for_everyone()

    def clip(self, parameters: Sequence[nn.Parameter], max_norm: float | None) -> float:
        """Clips the gradients to a global norm, and returns the norm before."""
        limit = float("inf") if max_norm is None else max_norm
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
        return float(_gathered(norm))

    def whole_for_main(self, value: Any) -> Any:
        """Shards gathered to whole tensors on the CPU, in dictionaries and lists too.

        All processes must call it; those that write no files get None for each tensor.
        """
        if isinstance(value, Mapping):
            return {key: self.whole_for_main(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.whole_for_main(item) for item in value]
        if isinstance(value, Tensor):
            gathered = _gathered(value)
            return gathered.detach().cpu() if self.is_main else None
        return value

    def forget(self) -> None:
        """Releases the modules prepared so far, which accelerate keeps references to."""
        self.accelerator.free_memory()

    def shards(self, whole: Tensor, like: Tensor) -> Tensor:
        """A whole tensor, sharded as another is."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return whole.to(like.device)
        return distribute_tensor(whole.to(self.device), like.device_mesh, like.placements)

    def _reduced(self, value: float, how: str) -> float:
        if self.share.num_processes == 1:
            return value
        number: Tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(number, dist.ReduceOp.SUM if how == "sum" else dist.ReduceOp.MAX)
        return number.item()


def _gathered(value: Tensor) -> Tensor:
    whole: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return whole
