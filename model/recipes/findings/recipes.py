"""The arms as recipes for `vlmbench train findings:ARM`; of the sweep of rates, `--set` has all.

Scores are the paper's (arXiv:2405.02246). `scripts/findings` trains them all, with seeds, and reads
the test part; backbones come from `results/findings/backbones`.
"""

from __future__ import annotations

from pathlib import Path

from idefics2.train.recipe import Recipe

from .arms import ARMS
from .models import SIZES
from .training import recipe as recipe_of

BACKBONES = Path(__file__).parents[3] / "results" / "findings" / "backbones"


def recipe() -> Recipe:
    """The reference."""
    return ar_lora()


def ar_frozen() -> Recipe:
    """Table 3: the fully autoregressive model, new modules alone are trained; 60.3."""
    return _arm("ar-frozen")


def ar_lora() -> Recipe:
    """Table 3: LoRA beside frozen backbones; 69.5. The others change one thing of this."""
    return _arm("ar-lora")


def ar_full() -> Recipe:
    """Table 3: all parameters; diverged. Here with warm-up, clipping and a lower rate."""
    return _arm("ar-full")


def ar_full_bare() -> Recipe:
    """The same without these remedies."""
    return _arm("ar-full-bare")


def ca_frozen() -> Recipe:
    """Table 3: gated cross-attention, new modules alone are trained; 66.7."""
    return _arm("ca-frozen")


def ca_lora() -> Recipe:
    """Table 3: gated cross-attention with LoRA; 67.3."""
    return _arm("ca-lora")


def ca_full() -> Recipe:
    """Cross-attention, all parameters."""
    return _arm("ca-full")


def ca_full_bare() -> Recipe:
    """The same without remedies."""
    return _arm("ca-full-bare")


def linear_frozen() -> Recipe:
    """Table 11: one projection and no pooling, backbones frozen; 44.5."""
    return _arm("linear-frozen")


def mlp_frozen() -> Recipe:
    """Table 11: a mapping network and no pooling, backbones frozen; 51.8."""
    return _arm("mlp-frozen")


def mlp_lora() -> Recipe:
    """The same with LoRA."""
    return _arm("mlp-lora")


def latents_16() -> Recipe:
    """Half of the reference's visual tokens."""
    return _arm("latents-16")


def latents_64() -> Recipe:
    """Table 4: twice as many; 71.7 with 64 of 729 patches."""
    return _arm("latents-64")


def latents_128() -> Recipe:
    """Table 4: more visual tokens than patches; 71.2 with 128 of 729 patches."""
    return _arm("latents-128")


def native() -> Recipe:
    """Table 5: native aspect ratio; 72.1 against 73.1."""
    return _arm("native")


def split_half() -> Recipe:
    """Section 3.5: half of the samples split."""
    return _arm("split-half")


def split_all() -> Recipe:
    """Section 3.5: every sample split."""
    return _arm("split-all")


def weak_text() -> Recipe:
    """Table 1: a weaker decoder; 62.5 against 67.6."""
    return _arm("weak-text")


def weak_vision() -> Recipe:
    """Table 2: a weaker tower; 57.4 against 60.7."""
    return _arm("weak-vision")


def weak_both() -> Recipe:
    """Both."""
    return _arm("weak-both")


def _arm(name: str) -> Recipe:
    return recipe_of(ARMS[name], 0, SIZES["small"], BACKBONES)
