"""The stages of the tiny recipe: their draws are pinned, and every setting is described."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from idefics2.train import Conversation, LabelledPicture
from idefics2.train.log import read_log
from idefics2.train.recipe import describe

ROOT = Path(__file__).parents[3]

PINNED = {
    "patch-labels": "7b31e6eb083d8584",
    "cell-labels": "37762a5517a010dd",
    "option-letters": "71285a2253267925",
    "reading": "5d374a4e991f138d",
    "text-lines": "46752b7c98ce3396",
    "all-tasks": "e78d5846999d2550",
    "locating": "0ef7c39f8ebb3478",
    "more-text": "fb228b7280de4e65",
    "answer-letters": "153538342ded5188",
    "tasks-and-letters": "0d71db466b5971fb",
    "answer-letters-again": "2c3b7a23bdce42e7",
    "rationales-large-text": "1bc047e1b48746d0",
    "rationales": "02442dccae044a04",
    "rationales-annealed": "23448358f9512dda",
    "answers-from-rationales": "83c8d48a7076a732",
}
"""Digests of the texts of each stage's first samples: a change makes another checkpoint."""


def texts(sample: Conversation | LabelledPicture) -> list[object]:
    if isinstance(sample, LabelledPicture):
        return [sample.source, sample.picture.size, sample.labels_NY.shape]
    turns = [(turn.content, turn.answer, turn.weight) for turn in sample.turns]
    sizes = [part if isinstance(part, str) else part.size for part in sample.shared]
    return [sample.source, sample.split, sizes, turns]


def test_the_draws_of_every_stage_are_the_pinned_ones(tiny: ModuleType) -> None:
    found = {}
    for stage in tiny.recipe().stages:
        drawn = [texts(stage.draw(index)) for index in range(6)]
        found[stage.name] = hashlib.sha256(json.dumps(drawn).encode()).hexdigest()[:16]
    assert found == PINNED


def test_the_seeds_of_stages_are_their_names_in_the_log_of_the_bundled_checkpoint(
    tiny: ModuleType,
) -> None:
    log = read_log(ROOT / "model" / "checkpoints" / "tiny" / "log.jsonl")
    logged = list(dict.fromkeys(record["stage"] for record in log))
    seeds = []
    for stage in tiny.recipe().stages:
        draw = describe(stage.draw)
        seeds.append(draw["seed"] if isinstance(draw, dict) else draw[1])
    assert seeds == logged


def test_other_shares_of_a_stage_are_another_recipe(tiny: ModuleType) -> None:
    """So that a training which was begun with others does not go on with them."""
    stage = tiny.stages.reading()
    shares = stage.draw.shares | {"lines": 0.5}
    assert describe(stage) != describe(replace(stage, draw=replace(stage.draw, shares=shares)))
