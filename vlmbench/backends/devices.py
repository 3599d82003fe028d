"""Device and dtype that a local model runs in."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

from vlmbench.errors import VlmbenchError

if TYPE_CHECKING:
    import torch


def device_of(name: str) -> torch.device:
    """The device of a setting; "auto" is the first accelerator, else the CPU.

    Where `accelerate launch` or `torchrun` started one process for each device, "auto" is this
    process's own. accelerate's `PartialState` would say so too, but it opens a process group on the
    way, and workers must not wait for one another.

    Raises: VlmbenchError for a device that is unknown or not there.
    """
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator()
        if accelerator is None or torch.accelerator.device_count() == 0:
            return torch.device("cpu")
        return torch.device(accelerator.type, _own_index(torch.accelerator.device_count()))
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # an unknown name, a missing driver, a build without CUDA
    except (RuntimeError, AssertionError) as error:
        raise VlmbenchError(f"no device {name!r}: {str(error).splitlines()[0]}") from error
    return device


def _own_index(num_devices: int) -> int:
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if num_devices == 1:
        return 0  # the launcher shows each process its own
    if local_rank >= num_devices:
        raise VlmbenchError(
            f"process {local_rank} of this node has no device: there are {num_devices}; "
            "start as many processes as devices"
        )
    return local_rank


BFLOAT16_UNITS = (8, 0)
"""CUDA's compute capability since which there are any: Ampere, 2020."""


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a setting; "auto" is what the device is fast in, whatever the checkpoint stores.

    That is bfloat16 on an accelerator, float16 on an NVIDIA GPU that lacks its units, and float32
    on a CPU.

    Raises: VlmbenchError for a dtype that the device does not compute in.
    """
    import torch

    if name == "auto":
        name = "float32" if device.type == "cpu" else "bfloat16"
        is_nvidia = device.type == "cuda" and torch.version.hip is None
        if is_nvidia and torch.cuda.get_device_capability(device) < BFLOAT16_UNITS:
            name = "float16"
    dtype = getattr(torch, name, None)
    try:
        assert isinstance(dtype, torch.dtype)
        ones = torch.ones(2, 2, dtype=dtype, device=device)
        torch.nn.functional.layer_norm(ones @ ones, (2,))
    except (AssertionError, RuntimeError, TypeError) as error:
        raise VlmbenchError(f"{device} does not compute in {name}: give another dtype") from error
    return dtype


def peak_memory_bytes(device: torch.device) -> int | None:
    """The most memory that tensors took at once; None where no one counts, as on a CPU."""
    import torch

    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def name_of(device: torch.device) -> str:
    """Name from the driver: "NVIDIA H100 80GB HBM3"; empty for a CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def uuid_of(device: torch.device) -> str:
    """UUID as in NVML; empty for a CPU."""
    import torch

    if device.type != "cuda":
        return ""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def free() -> None:
    """Give back what no tensor needs any more."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # does nothing where CUDA was not used
