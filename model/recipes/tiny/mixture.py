"""The samples of a stage: conversations of several sources, drawn at random by their shares.

Sources are scenes of the mini tasks (and of easy-VQA), pictures whose whole content is asked for
(`DESCRIBED`), and conversations without pictures (`text_only`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from PIL import Image

from idefics2.train.samples import Conversation, Turn
from vlmbench.data.mini.drawing import Canvas

from . import described, lines, text_only
from .conversations import Wording, conversation, has_text_options, split_share, without_options
from .scenes import exercises, samples, task_of, training_part

MAX_TURNS, MAX_TURNS_OF_ALL = 6, 12
"""Questions of a scene, and of one that is asked all its questions."""

OPEN_SHARE = 0.25
"""Share of scenes with options where one question is asked without them."""

MAX_LINES = 4
"""Lines of a picture of source "lines"."""

Drawn = tuple[Canvas | Image.Image, list[tuple[str, str]]]
"""A picture, and questions with their answers."""

DESCRIBED: Mapping[str, Callable[[random.Random], Drawn]] = {
    "lines": partial(lines.read_lines, max_lines=MAX_LINES),
    "shapes": described.shapes,
    "places": described.places,
    "attributes": described.attributes,
    "chart": described.chart,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationMixture:
    """A stage's `draw`: each conversation's source is drawn independently, by the shares."""

    seed: str
    shares: Mapping[str, float]
    wording: Wording

    def __call__(self, index: int) -> Conversation:
        rng = random.Random(f"{self.seed}/{index}")
        source = rng.choices(list(self.shares), list(self.shares.values()))[0]
        if source in text_only.LETTERS:
            return text_only.letters(source, rng)
        if source == "conclude":
            return text_only.conclude(rng)
        if source in DESCRIBED:
            return of_described(source, rng, self.wording.split_small)
        return of_scene(source, rng, self.wording)


def of_described(source: str, rng: random.Random, split_small: float) -> Conversation:
    """A picture with the questions for all that is in it."""
    drawn, questions = DESCRIBED[source](rng)
    image = drawn.image if isinstance(drawn, Canvas) else drawn
    turns = (
        Turn((f"Question: {question}\nGive a very brief answer.",), answer)
        for question, answer in questions
    )
    return Conversation(
        shared=(image,),
        turns=tuple(turns),
        layout="independent",
        split=rng.random() < split_share((image,), split_small),
        source=source,
    )


def of_scene(scenes: str, rng: random.Random, wording: Wording) -> Conversation:
    """A scene of a mini task with some of its questions, worded as in an evaluation.

    A choice takes two steps, what the answer is and which letter it has. The first is also asked
    alone here, the second in `text_only.letters`.
    """
    part, number = training_part(scenes, rng), rng.randrange(10**9)
    form = task_of(scenes).form
    if wording.large_text_only and scenes in ("textvqa", "docvqa"):
        number -= number % 2  # every second scene has large text
    if wording.all_questions:
        found = exercises(scenes, part, number)
        asked = rng.sample(found, min(MAX_TURNS_OF_ALL, len(found)))
        is_choice = all(has_text_options(sample.options) for sample, _ in asked)
    else:
        scene = samples(scenes, part, number)
        asked = [(sample, "") for sample in rng.sample(scene, min(MAX_TURNS, len(scene)))]
        is_choice = has_text_options(asked[0][0].options)
    if is_choice and rng.random() < OPEN_SHARE:
        sample, rationale = asked[0]
        asked, form = [(without_options(sample, form), rationale)], "short_answer"
    return conversation(asked, form, scenes, rng, wording)
