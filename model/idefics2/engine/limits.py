"""How much of the machine the engine may use."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from idefics2.model import Idefics2

ROOM_UNIT = 64
"""A row holds a multiple of so many tokens."""

DEFAULT_CPU_BYTES = 2**30
DEFAULT_CUDA_SHARE = 0.6  # of what is free once the weights are there; the rest is activations


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of what is in memory at once; what does not fit waits, or is computed again."""

    cache_tokens: int
    """Tokens whose keys and values are kept."""
    answers: int
    """Answers that grow side by side, at most."""
    step_tokens: int
    """Prompt tokens that are read at once. A single longer prompt still is."""
    patches: int
    """Patches that are encoded at once. A single larger crop still is. On a CPU a crop or two:
    more than the caches hold is slower."""
    waiting_patches: int
    """Patches that are decoded ahead, in the host's memory."""
    visual_tokens: int
    """Encoded tokens that are kept for later prompts."""

    def __post_init__(self) -> None:
        for name in ("answers", "step_tokens", "patches", "waiting_patches", "visual_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.cache_tokens < 2 * ROOM_UNIT:
            raise ValueError(
                f"cache_tokens must be at least {2 * ROOM_UNIT}, not {self.cache_tokens}"
            )

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with its answer: a row, beside which the trunk has room."""
        return self.cache_tokens // 2 // ROOM_UNIT * ROOM_UNIT

    @classmethod
    def of(cls, model: Idefics2, cache_bytes: int | None = None) -> Budget:
        """The defaults for the model's device.

        `cache_bytes` is for keys and values; if it is None they get 1 GiB on a CPU, and on a GPU a
        part of what is free.
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
            answers=256 if is_cuda else 64,
            step_tokens=8192 if is_cuda else 2048,
            patches=32768 if is_cuda else 2048,
            waiting_patches=131072 if is_cuda else 32768,
            visual_tokens=65536,
        )
