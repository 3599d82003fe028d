"""How much memory the engine may use, and what it does about the memory of a CPU."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass, fields

import torch

from idefics2.config import Idefics2Config
from idefics2.model import Idefics2

SLOT_UNIT = 64
"""A KV-cache slot holds a multiple of so many tokens."""

DEFAULT_CPU_BYTES = 2**30
DEFAULT_CUDA_SHARE = 0.6  # of what is free once the weights are there; the rest is activations

KEPT_VISUAL_TOKENS = 65536

SHORTAGES = (
    *("can't allocate memory", "not enough memory"),  # torch's CPU allocator
    "out of memory",  # CUDA itself, and NCCL on its behalf
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    "_ALLOCATION_FAILED",  # cuDNN since 9: of the host, and of the device
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",  # without room for its workspace
)
"""Texts in the plain RuntimeErrors that libraries below torch raise when memory runs out."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGEST_ON_HEAP = 2**25
"""The most that glibc takes for its threshold between heap and mapping."""
KEPT_BYTES = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of what is in memory at once; what exceeds them waits, or is computed again."""

    cache_tokens: int
    """Tokens that the KV cache has room for."""
    running: int
    """Sequences that are decoded side by side."""
    prefill_tokens: int
    """Prompt tokens of a prefill batch. A single longer prompt is prefilled all the same."""
    patches: int
    """Patches that are encoded at once. A single larger crop is encoded all the same. On a CPU
    about a crop or two: more than its caches hold is slower."""
    waiting_patches: int
    """Patches of images that are decoded ahead, in the host's memory."""
    visual_tokens: int
    """Visual tokens that the encoder cache keeps for later prompts; in the cross-attention
    architecture as keys and values."""

    def __post_init__(self) -> None:
        smallest = {"cache_tokens": 2 * SLOT_UNIT}
        for name in (item.name for item in fields(self)):
            value, least = getattr(self, name), smallest.get(name, 1)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")

    @property
    def longest(self) -> int:
        """Most tokens of a prompt with its answer: half the cache, as the prefix slot is as large.

        A multiple of `SLOT_UNIT`.
        """
        return self.cache_tokens // 2 // SLOT_UNIT * SLOT_UNIT

    @classmethod
    def of(cls, model: Idefics2, cache_bytes: int | None = None) -> Limits:
        """Defaults for the model's device.

        `cache_bytes` is for keys and values; None: 1 GiB on a CPU, a part of what is free on a GPU.
        """
        is_cuda = model.device.type == "cuda"
        if cache_bytes is None:
            cache_bytes = DEFAULT_CPU_BYTES
            if is_cuda:
                free_bytes, _ = torch.cuda.mem_get_info(model.device)
                cache_bytes = int(free_bytes * DEFAULT_CUDA_SHARE)
        text = model.config.text
        token_bytes = 2 * text.num_layers * text.num_kv_heads * text.head_width
        token_bytes *= model.lm_head.weight.element_size()
        return cls(
            cache_tokens=cache_bytes // token_bytes,
            running=256 if is_cuda else 64,
            prefill_tokens=8192 if is_cuda else 2048,
            patches=32768 if is_cuda else 2048,
            waiting_patches=131072 if is_cuda else 32768,
            visual_tokens=KEPT_VISUAL_TOKENS * text.width // _visual_width(model.config),
        )


def _visual_width(config: Idefics2Config) -> int:
    """Numbers that are kept of a visual token: itself, or its keys and values."""
    text = config.text
    keys_values = 2 * config.num_gated_blocks * text.num_kv_heads * text.head_width
    return keys_values or text.width


def is_shortage(error: Exception) -> bool:
    """True if memory ran out, so that a smaller batch might go through."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in SHORTAGES)


def keep_freed_memory() -> None:
    """Lets the C library keep up to `KEPT_BYTES` of freed memory for the next allocations.

    By default glibc returns the megabytes of an activation to the system when they are freed, and
    the next activation pays a page fault for every 4 KiB: about a tenth of a CPU's time. This holds
    for the whole process. Does nothing with another C library, or where the environment configures
    malloc.
    """
    is_set = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if is_set or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
    libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
