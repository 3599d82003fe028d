"""Scenes by task, part and number."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

Part = Literal["train", "test", "practice"]
"""Train and test have different words, values, layouts, faces and combinations of colour and shape.

A model learns that combinations absent from training do not occur. The practice part is for
training too: it has made-up words, and outlines in every combination.
"""


class Exercise(NamedTuple):
    """A row to train on."""

    row: dict[str, Any]
    rationale: str = ""
    """The reasoning before the answer, such as the "3 + 4 =" of "3 + 4 = 7"; "": none."""


Draw = Callable[[random.Random, Part, int], list[dict[str, Any]]]
"""Maps a scene's own generator, its part and its number to its rows."""

TASKS = ("vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench")

NUM_SCENES = {
    "vqav2": 200,
    "textvqa": 250,
    "docvqa": 100,
    "mmmu": 300,
    "mathvista": 300,
    "mmbench": 200,
    "easy_vqa": 1_000,
}
"""Scenes of each test part; the train part has no end."""

SEED = "vlmbench mini 1"
"""Part of every scene's seed; it changes with anything that changes a row."""


LARGE, SMALL = "large text", "small text"
"""Levels of signs and pages."""


def text_level(number: int) -> str:
    """Level of a scene: every second one has large text."""
    return (LARGE, SMALL)[number % 2]


def has(part: Part, combination: int) -> bool:
    """True if a part has a combination: every third is the test part's; practice has all."""
    return part == "practice" or (combination % 3 == 2) == (part == "test")


def scene(task: str, part: Part, number: int) -> list[dict[str, Any]]:
    """The rows of one scene: a hub row each, pictures as PIL images. The same on every machine."""
    draw = cast(Draw, _module(task).draw)
    return draw(random.Random(f"{SEED}/{task}/{part}/{number}"), part, number)


def exercises(task: str, part: Part, number: int) -> list[Exercise]:
    """A scene for training: all questions about a picture, with rationales."""
    module = _module(task)
    rng = random.Random(f"{SEED}/{task}/{part}/{number}/exercises")
    if hasattr(module, "exercises"):
        return cast(list[Exercise], module.exercises(rng, part, number))
    return [Exercise(row) for row in module.draw(rng, part, number)]


def _module(task: str) -> Any:
    return importlib.import_module(f"vlmbench.data.mini.{task}")
