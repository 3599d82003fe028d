"""Training samples from scenes of the mini tasks, without a file between."""

from __future__ import annotations

import random
from functools import cache

from vlmbench.data.mini import scenes as mini_scenes
from vlmbench.data.mini.columns import TASK_OF
from vlmbench.data.mini.drawn_rows import as_row, drawn_rows
from vlmbench.data.mini.scenes import Part
from vlmbench.schema import Sample
from vlmbench.task.loading import find
from vlmbench.task.task import Task

TRAINING_PARTS: tuple[Part, Part] = ("train", "practice")


def training_part(scenes: str, rng: random.Random) -> Part:
    """The part of the next scene: "practice" for every second one.

    easy-VQA's pictures are given, so that they have no such part.
    """
    return "practice" if scenes != "easy_vqa" and rng.random() < 0.5 else "train"


def samples(scenes: str, part: Part, number: int) -> list[Sample]:
    """The samples of one scene, as the task's own file reads its rows.

    `scenes`: a task's name, or "easy_vqa".
    """
    return [task_of(scenes).read(row) for row in drawn_rows(scenes, part, number)]


def exercises(scenes: str, part: Part, number: int) -> list[tuple[Sample, str]]:
    """The samples of one scene with all its questions, each with its rationale or ""."""
    found = mini_scenes.exercises(scenes, part, number)
    return [
        (task_of(scenes).read(as_row(scenes, row, f"{part} exercises {number} row {i}")), rationale)
        for i, (row, rationale) in enumerate(found)
    ]


@cache
def task_of(scenes: str) -> Task:
    """The task whose rows the scenes are."""
    return find(TASK_OF[scenes])
