"""Recipes for the tests of the command line; processes that are killed run it too."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from idefics2.train import (
    AdamW,
    Adapters,
    Answers,
    Conversation,
    DenseLabels,
    LabelledPicture,
    MuonRule,
    Optimization,
    Recipe,
    Rule,
    Schedule,
    Stage,
    Turn,
)

COLOURS = ("red", "green", "blue")


def start(folder: Path) -> Path:
    spec = importlib.util.spec_from_file_location("start", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written: Path = module.write_start(folder)
    return written


def coloured(index: int) -> tuple[Image.Image, int]:
    """A picture of 12 patches whose upper 8 have the colour."""
    colour = int(np.random.default_rng(index).integers(3))
    pixels = np.zeros((12, 16, 3), np.uint8)
    pixels[:8, :, colour] = 220
    return Image.fromarray(pixels), colour


def draw_labels(index: int) -> LabelledPicture:
    picture, colour = coloured(index)
    labels = np.zeros((3, 4), np.int64)
    labels[:2] = colour + 1
    return LabelledPicture(picture=picture, labels_NY=labels.reshape(-1, 1), source="patches")


def draw_questions(index: int) -> Conversation:
    picture, colour = coloured(index)
    turns = [Turn(("Colour?",), COLOURS[colour]), Turn(("Red?",), "yes" if colour == 0 else "no")]
    if index % 2:
        turns.append(Turn(("Is it blue?",), "yes" if colour == 2 else "no"))
    return Conversation(
        turns=tuple(turns),
        shared=(picture,),
        layout="independent",
        source="colour" if index % 3 else "other",
    )


OPTIMIZATION = Optimization(
    rules=(Rule(r"layers\..*(proj|fc)", MuonRule(lr=0.01)), Rule("", AdamW(lr=3e-3))),
    schedule=Schedule(warmup_steps=5, decay="linear", level_share=0.5, floor=0.02),
)
PATCHES = Stage(
    name="patches",
    draw=draw_labels,
    objective=DenseLabels(num_classes=(4,)),
    optimization=OPTIMIZATION,
    num_steps=12,
    batch_size=8,
    micro_tokens=1000,
    micro_patches=60,
    log_every=1,
    save_every=5,
)
QUESTIONS = replace(
    PATCHES,
    name="questions",
    draw=draw_questions,
    objective=Answers(max_tokens=60, neftune_alpha=1.0),
    num_steps=20,
    micro_tokens=150,
    frozen=(),
)


def recipe() -> Recipe:
    """Both stages."""
    return Recipe(name="tests", start=start, stages=(PATCHES, QUESTIONS))


def questions() -> Recipe:
    """The second alone."""
    return Recipe(name="questions", start=start, stages=(QUESTIONS,))


def sharded() -> Recipe:
    """The second with DoRA and without Muon, which needs whole matrices."""
    stage = replace(
        QUESTIONS,
        optimization=replace(OPTIMIZATION, rules=OPTIMIZATION.rules[1:]),
        adapters=Adapters(kind="dora", rank=2, dropout=0.0),
        frozen=("embed_tokens",),
        num_steps=6,
        save_every=4,
        recompute=True,
    )
    return Recipe(name="sharded", start=start, stages=(stage,))
