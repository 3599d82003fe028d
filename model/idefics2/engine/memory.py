"""Running out of it, keeping it, and waiting for the device."""

from __future__ import annotations

import ctypes
import os
import platform
import time

import torch

MESSAGES = (
    *("can't allocate memory", "not enough memory"),  # torch's CPU allocator
    "out of memory",  # CUDA itself, and NCCL on its behalf
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    "_ALLOCATION_FAILED",  # cuDNN since 9: of the host, and of the device
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",  # without room for its workspace
)
"""In what the libraries below torch raise, which is a plain RuntimeError."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGEST_ON_HEAP = 2**25
"""The most that glibc takes for its threshold between heap and mapping."""
KEPT_BYTES = 2**30


def is_shortage(error: Exception) -> bool:
    """Whether a smaller step might have gone through."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES)


def now(device: torch.device) -> float:
    """Seconds on a steady clock, once the device has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def keep_freed_memory() -> None:
    """Lets the C library keep up to `KEPT_BYTES` that were freed, for what is asked for next.

    By itself glibc hands the megabytes of an activation back to the system when they are freed, and
    the next activation pays a page fault for every 4 KiB: about a tenth of a CPU's time. This holds
    for the whole process. Nothing is done with another C library, or where the environment says how
    malloc is to behave.
    """
    is_set = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if is_set or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
    libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
