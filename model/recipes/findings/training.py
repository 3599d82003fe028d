"""An arm as a recipe: joined backbones, one stage on questions about pictures."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from idefics2.config import Idefics2Config
from idefics2.images import ImageSettings
from idefics2.train.adapters import Adapters
from idefics2.train.objectives import Answers
from idefics2.train.optimization import AdamW, MuonRule, Optimization, Rule, Schedule
from idefics2.train.recipe import Evaluate, Recipe, Stage
from idefics2.train.samples import Conversation

from .arms import Arm
from .backbones import telling, turns_of, weights
from .models import NEW_TOKENS, PATCH, Size, join, variant
from .scenes import FAMILIES, SIDE, scene

FAMILY_SHARES = (0.3, 0.45, 0.25)
"""Shape, slip, page shares."""

BACKBONES = (r"^vision_model\.", r"^text_model\.(layers|norm)\b")
NEW_MATRICES = r"(connector|cross_layers)\..*(layers\.|proj)"
NEW_MODULES = r"connector\.|cross_layers\.|embed_tokens|lm_head"
NEW_RATE = 0.005
"""Muon's rate for the new modules' matrices; AdamW has a tenth for all the rest. With 0.01 the
reference began to read half a training later, with 0.03 the loss of cross-attention rose after 100
steps."""

LORA = Adapters(rank=16, alpha=16, dropout=0.0)
NATIVE = ImageSettings(longest_side=SIDE, shortest_side=2 * PATCH, patch_size=PATCH)
BATCH = 16
NUM_QUESTIONS = 3
"""Questions per picture, beside one for all of it."""

NUM_STEPS = 1600
LEVEL_SHARE = 0.25
"""Share of steps before learning rates fall."""

NUM_POINTS = 5
"""Readings of the validation part; the last is at the end."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Samples of a seed by number: the same pictures and questions for all arms."""

    seed: int
    split_share: float

    def __call__(self, index: int) -> Conversation:
        rng = random.Random(f"findings/train/{self.seed}/{index}")
        drawn = scene(rng, "train", rng.choices(FAMILIES, FAMILY_SHARES)[0])
        return Conversation(
            shared=(drawn.canvas.image,),
            turns=(*turns_of(drawn)[:NUM_QUESTIONS], telling(drawn)),
            layout="independent",
            split=rng.random() < self.split_share,
            source=drawn.family,
        )


def config_of(arm: Arm, size: Size) -> Idefics2Config:
    """The arm's model; with native aspect ratio that is a matter of the pictures alone."""
    return variant(size.config(), **{"square_images": not arm.is_native, **arm.model})


def recipe(
    arm: Arm,
    seed: int,
    size: Size,
    backbones: Path,
    *,
    num_steps: int = NUM_STEPS,
    evaluate: Evaluate | None = None,
) -> Recipe:
    """The training of an arm with a seed, from the backbones in a folder."""
    stage = Stage(
        name="arm",
        draw=Draw(seed, arm.split_share),
        objective=Answers(max_tokens=2048),
        optimization=_optimization(arm, num_steps),
        frozen=() if arm.training == "full" else BACKBONES,
        trained_tokens=None if arm.training == "full" else NEW_TOKENS,
        adapters=LORA if arm.training == "lora" else None,
        images=NATIVE if arm.is_native else None,
        num_steps=num_steps,
        batch_size=BATCH,
        micro_tokens=1600,
        micro_patches=1024,
        log_every=max(1, num_steps // 50),
        save_every=max(1, num_steps // 10),
        evaluate=evaluate,
        evaluate_every=max(1, num_steps // NUM_POINTS),
    )
    start = partial(_start, arm, seed, size, backbones)
    return Recipe(name=f"findings-{arm.name}", start=start, stages=(stage,), seed=seed, keep=1)


def _start(arm: Arm, seed: int, size: Size, backbones: Path, folder: Path) -> Path:
    vision, text = weights(backbones, "vision", arm.vision), weights(backbones, "text", arm.text)
    return join(folder, config_of(arm, size), vision, text, seed)


def _optimization(arm: Arm, num_steps: int) -> Optimization:
    """Muon for the new modules' matrices, AdamW for all else."""
    muon = MuonRule(lr=NEW_RATE, weight_decay=0.05, num_iterations=4)
    adamw = AdamW(lr=0.1 * NEW_RATE, betas=(0.9, 0.98))
    return Optimization(
        rules=(
            Rule(NEW_MATRICES, muon),
            Rule(NEW_MODULES, adamw),
            Rule("", AdamW(lr=arm.backbones_rate, betas=(0.9, 0.98))),
        ),
        schedule=Schedule(
            warmup_steps=min(20, num_steps // 5) if arm.has_remedies else 0,
            decay="linear",
            level_share=LEVEL_SHARE,
            floor=0.02,
        ),
        max_grad_norm=1.0 if arm.has_remedies else None,
    )
