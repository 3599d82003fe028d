"""Chooses trained parameters: all, some by name, or low-rank adapters beside frozen layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from idefics2.mistral import MistralLayer
from idefics2.model import Idefics2
from idefics2.perceiver import PerceiverLayer
from idefics2.vision import VisionLayer

PAPER_TARGETS = r"(text_model|vision_model)\.layers\..*(proj|fc1|fc2)"
"""All linear layers in both backbones' blocks. The paper says no more than that backbones get LoRA;
with rank 64 these and the connector are 945.8M trained parameters, and its Table 3 prints 950M."""

TABLES = ("text_model.embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """LoRA (Hu et al., 2022) or DoRA (Liu et al., 2024), by peft."""

    kind: Literal["lora", "dora"] = "lora"
    rank: int = 64
    alpha: float = 16
    """The product of the low-rank matrices is multiplied by alpha / rank."""
    dropout: float = 0.1
    targets: str = PAPER_TARGETS
    """Pattern that the whole name of a linear layer must match."""

    def __post_init__(self) -> None:
        if self.kind not in ("lora", "dora"):
            raise ValueError(f"adapters of kind {self.kind!r}: there are 'lora' and 'dora'")
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"adapters out of range: {self}")


def attach(model: Idefics2, adapters: Adapters) -> None:
    """Puts adapters beside the targeted layers, in place.

    Raises: ValueError if there is no such layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not any(re.fullmatch(adapters.targets, name) for name in names):
        raise ValueError(f"no linear layer is named like the adapters' {adapters.targets!r}")
    config = LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.alpha,  # type: ignore[arg-type]  # fractions work too
        lora_dropout=adapters.dropout,
        target_modules=adapters.targets,
        use_dora=adapters.kind == "dora",
        bias="none",
    )
    inject_adapter_in_model(config, model)


def merge(model: Idefics2) -> None:
    """Adds the adapters' products to the weights and removes the adapters, in place."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module.get_base_layer())


def is_adapter(name: str) -> bool:
    """True if a parameter of that name belongs to an adapter."""
    return ".lora_" in name


def choose_trained(model: Idefics2, frozen: Sequence[str]) -> None:
    """Sets which parameters get gradients: all but adapted layers and those of frozen names.

    Raises: ValueError for a pattern that freezes nothing.
    """
    unused = set(frozen)
    for name, parameter in model.named_parameters():
        fits = {pattern for pattern in frozen if re.search(pattern, name)}
        unused -= fits
        is_free = not fits and ".base_layer." not in name
        parameter.requires_grad_(is_adapter(name) or is_free)
    if unused:
        raise ValueError(f"no parameter is named like {sorted(unused)[0]!r}, which is frozen")


def recompute_layers(model: Idefics2) -> None:
    """Activation checkpointing: layers keep their input and run again in the backward pass."""
    for module in model.modules():
        if isinstance(module, VisionLayer | PerceiverLayer | MistralLayer):
            run = partial(checkpoint, module.forward, use_reentrant=False)
            module.forward = run  # type: ignore[method-assign]


def mask_of_rows(rows: Sequence[int], table_VD: Tensor) -> Tensor:
    """A column [V, 1] with ones in these rows of a table."""
    mask_V1 = torch.zeros(len(table_VD), 1)
    mask_V1[list(rows)] = 1
    return mask_V1
