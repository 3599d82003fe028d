"""Questions of the validation and test parts, and how a model answers each."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from PIL import Image

from idefics2.chat import Message
from idefics2.engine import Engine, Request, lazy_image
from idefics2.generate import Sampling
from idefics2.model import Idefics2
from idefics2.processor import Processor
from idefics2.prompt import Prompt, Slots
from idefics2.train.adapters import merge
from vlmbench.metrics.anls import anls

from .backbones import worded
from .scenes import FAMILIES, Part, scene

NUM_SCENES: dict[Part, int] = {"validation": 60, "test": 300}
"""Pictures; a third of each family."""

PAPER = (242, 242, 242)
MAX_NEW_TOKENS = 8
Control = Literal["none", "blank", "other"]
"""What stands in a picture's place: itself, an empty one of its size, or another scene's."""


class Item(NamedTuple):
    """A question about a picture."""

    picture: int
    """Number of its scene: questions of one picture are not independent."""
    family: str
    kind: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Questions:
    """All of a part."""

    items: tuple[Item, ...]
    pictures: tuple[Image.Image, ...]


def questions(part: Part, num_scenes: int | None = None) -> Questions:
    """The same for every arm and seed."""
    items, pictures = [], []
    for number in range(NUM_SCENES[part] if num_scenes is None else num_scenes):
        drawn = scene(random.Random(f"findings/{part}/{number}"), part, FAMILIES[number % 3])
        pictures.append(drawn.canvas.image)
        items += [
            Item(number, drawn.family, asked.kind, asked.text, asked.answer)
            for asked in drawn.questions
        ]
    return Questions(tuple(items), tuple(pictures))


def scores(
    model: Idefics2,
    processor: Processor,
    asked: Questions,
    *,
    is_split: bool = False,
    control: Control = "none",
) -> list[float]:
    """Scores of questions, 0 to 1: words that are read by ANLS, all else right or wrong."""
    processor = replace(processor, images=replace(processor.images, split=is_split))
    pictures = shown_pictures(asked.pictures, control)
    answers = _answers(model, processor, asked.items, pictures)
    return [score(item, answer) for item, answer in zip(asked.items, answers, strict=True)]


def _answers(
    model: Idefics2, processor: Processor, items: Sequence[Item], pictures: Sequence[Image.Image]
) -> list[str]:
    """Answers of adapters merged, since the engine knows none."""
    model = deepcopy(model)
    merge(model)
    images = [
        lazy_image(processor, str(number), picture.copy) for number, picture in enumerate(pictures)
    ]
    requests = []
    for number, item in enumerate(items):
        image = images[item.picture]
        ids = _prompt(processor, image.slots, item.question).ids
        sampling = _sampling(processor)
        requests.append(Request(id=str(number), ids=ids, images=(image,), sampling=sampling))
    found = {result.id: result for result in Engine(model, decode=processor.decode).run(requests)}
    if errors := [result.error for result in found.values() if result.error]:
        raise ValueError(errors[0])
    return [found[str(number)].text or "" for number in range(len(items))]


def _sampling(processor: Processor) -> Sampling:
    return Sampling(max_new_tokens=MAX_NEW_TOKENS, stop_ids=processor.stop_ids)


def score(item: Item, response: str) -> float:
    """How right a response is; its outer spaces do not count, which ANLS would take for letters."""
    response = response.strip()
    if item.kind == "read":
        return anls(response, [item.answer])
    return float(response == item.answer)


def majority(items: Sequence[Item]) -> list[float]:
    """Scores of always answering what is commonest for that family and kind: without a look.

    Words are not guessed: none is in two parts.
    """
    commonest: dict[tuple[str, str], str] = {}
    for key in {(item.family, item.kind) for item in items}:
        answers = [item.answer for item in items if (item.family, item.kind) == key]
        commonest[key] = max(sorted(set(answers)), key=answers.count)
    return [
        0.0 if item.kind == "read" else float(commonest[item.family, item.kind] == item.answer)
        for item in items
    ]


def mean(values: Iterable[float]) -> float:
    """Mean in %."""
    listed = list(values)
    return 100 * sum(listed) / len(listed)


def shown_pictures(pictures: Sequence[Image.Image], control: Control) -> list[Image.Image]:
    """What the model sees in the place of each picture."""
    match control:
        case "none":
            return list(pictures)
        case "blank":
            return [Image.new("RGB", picture.size, PAPER) for picture in pictures]
        case "other":  # of the same family, as families take turns
            return [*pictures[len(FAMILIES) :], *pictures[: len(FAMILIES)]]


def _prompt(processor: Processor, picture: Image.Image | Slots, question: str) -> Prompt:
    return processor.chat([Message("user", (picture, worded(question)))])
