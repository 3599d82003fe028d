"""The recipe's start, wording, optimiser and evaluation teach something within few steps."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from PIL import Image

from idefics2 import Idefics2, load
from idefics2.train import Conversation, Recipe, train
from idefics2.train.log import read_log
from vlmbench.data.mini.drawing import rgb
from vlmbench.data.pictures import MemoryPicture
from vlmbench.schema import Sample

COLORS = ("red", "green", "blue", "yellow")


def about_a_color(number: int) -> Sample:
    """A question for the only colour of a picture; sizes and shades vary."""
    rng = random.Random(number)
    color = rng.choice(COLORS)
    shade = tuple(max(0, min(255, value + rng.randint(-15, 15))) for value in rgb(color))
    image = Image.new("RGB", (8 * rng.randint(3, 5), 8 * rng.randint(3, 5)), shade)
    return Sample(
        id=str(number),
        image_group=str(number),
        question="what color is it?",
        answers=(color,) * 10,
        images={1: MemoryPicture(image)},
    )


def whitened(sample: Sample) -> Sample:
    return replace(sample, images={1: MemoryPicture(Image.new("RGB", (32, 32), "white"))})


def test_forty_steps_from_nothing_teach_colors(tiny: ModuleType, tmp_path: Path) -> None:
    def draw(index: int) -> Conversation:
        told: Conversation = tiny.conversations.conversation(
            [(about_a_color(index), "")], "short_answer", "colors", random.Random(index)
        )
        return replace(told, split=False)

    settings = tiny.stage_settings
    schedule = replace(settings.DOWN, warmup_steps=5)
    stage = replace(
        tiny.stages.all_tasks(),
        draw=draw,
        optimization=settings.optimization(peak=1.0, schedule=schedule),
        num_steps=40,
        batch_size=8,
        log_every=4,
    )
    start = partial(tiny.checkpoint.start, width=64)
    trained = train(Recipe(name="colors", start=start, stages=(stage,)), tmp_path, is_quiet=True)
    losses = [record["loss"] for record in read_log(tmp_path / "log.jsonl")]
    asked = [about_a_color(10**6 + number) for number in range(24)]
    (untrained, processor), (model, _) = load(tmp_path / "start"), load(trained)
    whole = replace(processor, images=replace(processor.images, split=False))

    def score(model: Idefics2, samples: list[Sample]) -> float:
        return float(tiny.evaluation.mean_score(model, whole, "vqav2", samples))

    scores = [score(untrained, asked), score(model, asked)]
    scores.append(score(model, [whitened(sample) for sample in asked]))
    assert losses[-1] < 0.7 * losses[0], losses
    assert scores[0] < 10 and scores[1] > 80 and scores[2] < 50, scores
