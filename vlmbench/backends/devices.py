"""Where a local model runs, and in which numbers."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

from vlmbench.errors import VlmbenchError

if TYPE_CHECKING:
    import torch

MUST_BE_GPU = "VLMBENCH_MUST_BE_GPU"
"""Environment variable of a worker that was started for a GPU of its own."""


def device_of(name: str) -> torch.device:
    """The device of a setting; "auto" is the first accelerator, else the CPU.

    Where `accelerate launch` or `torchrun` started one process for each device, "auto" is this
    process's own. accelerate's `PartialState` would say so too, but it opens a process group on the
    way, and workers must not wait for one another.

    Raises: VlmbenchError for a device that is unknown or not there, and in a worker that was
    started for a GPU where there is none.
    """
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator()
        if accelerator is None or torch.accelerator.device_count() == 0:
            if os.environ.get(MUST_BE_GPU):
                raise VlmbenchError(
                    "a GPU was asked for, and torch finds none "
                    f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')}, torch "
                    f"{torch.__version__}): leave --gpus out to run on the CPU"
                )
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


def dtype_of(name: str, device: torch.device, checkpoint_dtype: str) -> torch.dtype:
    """The dtype of a setting; "auto" is the checkpoint's on an accelerator, float32 on a CPU.

    Raises: VlmbenchError for a dtype that the device does not compute in.
    """
    import torch

    if name == "auto":
        name = "float32" if device.type == "cpu" else checkpoint_dtype
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
    """As the driver gives it: "NVIDIA H100 80GB HBM3"; empty for a CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def uuid_of(device: torch.device) -> str:
    """As NVML spells it; empty for a CPU."""
    import torch

    if device.type != "cuda":
        return ""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def free() -> None:
    """Give back what no tensor needs any more."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # does nothing where CUDA was not used
