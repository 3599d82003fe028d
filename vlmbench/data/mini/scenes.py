"""Scenes by task, part and number."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

Part = Literal["train", "test", "practice"]
"""Train and test have different words, values, layouts, faces and combinations of colour and shape.

What is never combined in training is learnt as impossible long before it is seen. So a model can
practise too: with made-up words, and with outlines that come in every combination.
"""


class Exercise(NamedTuple):
    """A row to train on."""

    row: dict[str, Any]
    rationale: str = ""
    """The reasoning before the answer, such as the "3 + 4 =" of "3 + 4 = 7"; "": none."""


Draw = Callable[[random.Random, Part, int], list[dict[str, Any]]]
"""From the scene's own random numbers, its part and its number to its rows."""

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
"""Changes with anything that changes a row."""


LARGE, SMALL = "large text", "small text"
"""Two levels of signs and pages."""


def text_level(number: int) -> str:
    """Every second scene is large."""
    return (LARGE, SMALL)[number % 2]


def has(part: Part, combination: int) -> bool:
    """Whether a combination is in a part: every third is in the test part's; practice has all."""
    return part == "practice" or (combination % 3 == 2) == (part == "test")


def scene(task: str, part: Part, number: int) -> list[dict[str, Any]]:
    """The rows of one scene: a hub row each, pictures as PIL images. The same on every machine."""
    draw = cast(Draw, _module(task).draw)
    return draw(random.Random(f"{SEED}/{task}/{part}/{number}"), part, number)


def exercises(task: str, part: Part, number: int) -> list[Exercise]:
    """Rows of a scene as the task draws them, but with as many questions as it can ask."""
    module = _module(task)
    rng = random.Random(f"{SEED}/{task}/{part}/{number}/exercises")
    if hasattr(module, "exercises"):
        return cast(list[Exercise], module.exercises(rng, part, number))
    return [Exercise(row) for row in module.draw(rng, part, number)]


def _module(task: str) -> Any:
    return importlib.import_module(f"vlmbench.data.mini.{task}")
