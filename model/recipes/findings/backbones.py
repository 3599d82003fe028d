"""A vision tower and a decoder, each trained alone, in a stronger and a weaker form.

The tower learns what covers each patch, in which colour, and where the patch is. The decoder reads
scenes in words and answers questions about them, and learns to say all that is in them; it never
meets a picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from idefics2.train.dense_labels import DenseLabels, LabelledPicture
from idefics2.train.objectives import Answers
from idefics2.train.optimization import AdamW, MuonRule, Optimization, Rule, Schedule
from idefics2.train.recipe import Recipe, Stage
from idefics2.train.samples import Conversation, Turn

from . import labels
from .models import Size, keep_part, write_untrained
from .scenes import FAMILIES, MANY, Scene, Texts, scene

Part = Literal["vision", "text"]
Strength = Literal["strong", "weak"]

SEED = 0
"""Seed of both backbones: all arms share them."""

STEPS: dict[tuple[Part, Strength], int] = {
    ("vision", "strong"): 1200,
    ("vision", "weak"): 200,
    ("text", "strong"): 900,
    ("text", "weak"): 120,
}
TELLING_STEPS: dict[Strength, int] = {"strong": 200, "weak": 60}
CODES_STEPS: dict[Strength, int] = {"strong": 100, "weak": 40}
"""What makes a backbone weaker: fewer steps, of the same data; parameters are equal."""

BATCH = 32
CLOSED_WEIGHT = 0.5
"""Loss weight of "yes" and "no": they are learnt from the wording before the scene is read."""

TELLING_WEIGHT = 0.5
"""Loss weight of a description's many tokens."""

DECODER = (r"^text_model\.", r"^lm_head\.")
EYES = (r"^vision_model\.", r"^connector\.")


def backbone(part: Part, strength: Strength, size: Size) -> Recipe:
    """The training of one backbone."""
    num_steps = STEPS[part, strength]
    stages: tuple[Stage, ...] = (_vision_stage(num_steps),)
    if part == "text":
        stages = (
            _text_stage(num_steps),
            _told_stage("telling", TELLING_STEPS[strength], _told),
            _told_stage("codes", CODES_STEPS[strength], _coded),
        )
    return Recipe(
        name=f"findings-{part}-{strength}",
        start=partial(_start, size),
        stages=stages,
        seed=SEED,
    )


def weights(folder: Path, part: Part, strength: Strength) -> Path:
    """The file of a trained backbone."""
    return folder / f"{part}-{strength}.safetensors"


def keep(folder: Path, part: Part, strength: Strength, trained: Path) -> None:
    """Writes that file from the checkpoint at the end of its training."""
    prefixes = ("vision_model.",) if part == "vision" else ("text_model.", "lm_head.")
    keep_part(trained, prefixes, weights(folder, part, strength))


def _start(size: Size, folder: Path) -> Path:
    return write_untrained(folder, size.config(), SEED)


def _vision_stage(num_steps: int) -> Stage:
    return Stage(
        name="vision",
        draw=_labelled,
        objective=DenseLabels(num_classes=labels.NUM_CLASSES),
        optimization=_optimization(num_steps),
        frozen=(r"^connector\.", *DECODER),
        num_steps=num_steps,
        batch_size=BATCH,
        micro_tokens=1,
        micro_patches=2048,
        log_every=25,
        save_every=100,
    )


def _text_stage(num_steps: int) -> Stage:
    return Stage(
        name="text",
        draw=_described,
        objective=Answers(max_tokens=512),
        optimization=_optimization(num_steps),
        frozen=EYES,
        num_steps=num_steps,
        batch_size=BATCH,
        micro_tokens=2048,
        micro_patches=1600,
        log_every=25,
        save_every=100,
    )


def _told_stage(name: str, num_steps: int, draw: Callable[[int], Conversation]) -> Stage:
    """Questions as before, and what there is at all."""
    return replace(
        _text_stage(num_steps),
        name=name,
        draw=draw,
        optimization=_optimization(num_steps, peak=0.5),
    )


def _optimization(num_steps: int, peak: float = 1.0) -> Optimization:
    """Muon for the layers' matrices, AdamW for all else: as recipe `tiny`."""
    muon = MuonRule(lr=0.01 * peak, weight_decay=0.05, num_iterations=4)
    adamw = AdamW(lr=1e-3 * peak, betas=(0.9, 0.98))
    return Optimization(
        rules=(Rule(r"layers\.", muon), Rule("", adamw)),
        schedule=Schedule(
            warmup_steps=min(50, num_steps // 4), decay="linear", level_share=0.6, floor=0.02
        ),
    )


def _labelled(index: int) -> LabelledPicture:
    return labels.labelled(random.Random(f"findings/vision/{index}"))


def _described(index: int) -> Conversation:
    """A scene in words and its questions, each asked alone."""
    return _conversation(random.Random(f"findings/text/{index}"), "words", is_told=False)


def _told(index: int) -> Conversation:
    return _conversation(random.Random(f"findings/telling/{index}"), "words", is_told=True)


def _coded(index: int) -> Conversation:
    """Sample with the shorter texts of the arms' pictures."""
    return _conversation(random.Random(f"findings/codes/{index}"), "codes", is_told=True)


def _conversation(rng: random.Random, texts: Texts, *, is_told: bool) -> Conversation:
    drawn = scene(rng, "train", rng.choice(FAMILIES), texts, MANY)
    turns = turns_of(drawn)
    return Conversation(
        shared=(drawn.description,),
        turns=(*turns, telling(drawn)) if is_told else turns,
        layout="independent",
        source=drawn.family,
    )


def turns_of(drawn: Scene) -> tuple[Turn, ...]:
    """The questions of a scene, as they follow its description or its picture."""
    return tuple(
        Turn(
            (worded(asked.text),),
            asked.answer,
            CLOSED_WEIGHT if asked.answer in ("yes", "no") else 1.0,
        )
        for asked in drawn.questions
    )


def telling(drawn: Scene) -> Turn:
    """The question for all that there is."""
    return Turn((worded("what is in it?"),), drawn.description, TELLING_WEIGHT)


def worded(question: str) -> str:
    """Question on its own line, so its first word is the same token behind a picture."""
    return f"\n{question}"
