"""The laboratory of the paper's six findings, small enough for two CPU cores.

`scenes` draws pictures and texts, `backbones` trains a tower and a decoder apart, `arms` are the
trainings that are compared, `laboratory` runs them, and `report` says what came of it.
"""

from .recipes import (
    ar_frozen,
    ar_full,
    ar_full_bare,
    ar_lora,
    ca_frozen,
    ca_full,
    ca_full_bare,
    ca_lora,
    latents_16,
    latents_64,
    latents_128,
    linear_frozen,
    mlp_frozen,
    mlp_lora,
    native,
    recipe,
    split_all,
    split_half,
    weak_both,
    weak_text,
    weak_vision,
)

__all__ = [
    "ar_frozen",
    "ar_full",
    "ar_full_bare",
    "ar_lora",
    "ca_frozen",
    "ca_full",
    "ca_full_bare",
    "ca_lora",
    "latents_16",
    "latents_64",
    "latents_128",
    "linear_frozen",
    "mlp_frozen",
    "mlp_lora",
    "native",
    "recipe",
    "split_all",
    "split_half",
    "weak_both",
    "weak_text",
    "weak_vision",
]
