"""`idefics2:tiny`: a small Idefics2 that learns to see and to read from nothing.

First the vision tower alone learns which letter or shape covers each patch, then tower and
resampler what stands in the cell of each latent. The decoder learns which letter an option has,
then to read lines, and at last the whole model answers the mini tasks, worded as the harness asks
them, and works out what takes steps. Sizes and settings are not the paper's, but for the number of
latents.
"""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from idefics2.chat import RELEASED_TEMPLATE, Message
from idefics2.config import Idefics2Config, PerceiverConfig, TextConfig, VisionConfig
from idefics2.generate import Sampling, generate
from idefics2.model import Idefics2, initialize
from idefics2.processor import Processor
from idefics2.train.augmentation import Augmentation
from idefics2.train.dense_labels import UNLABELLED, DenseLabels, LabelledPicture
from idefics2.train.objectives import Answers
from idefics2.train.optimization import AdamW, MuonRule, Optimization, Rule, Schedule
from idefics2.train.recipe import Evaluate, Recipe, Stage
from idefics2.train.samples import Content, Conversation, Turn
from idefics2.train.vocabulary import SPECIAL, build_tokenizer, count_words
from idefics2.weights import save_model
from vlmbench.data import mini
from vlmbench.data.mini import fields, textvqa
from vlmbench.data.mini.columns import TASK_OF
from vlmbench.data.mini.drawing import COLORS, SHAPES, Canvas, Mark
from vlmbench.data.mini.scenes import Part
from vlmbench.data.mini.stream import exercises as exercises_of
from vlmbench.data.mini.stream import samples as samples_of
from vlmbench.data.mini.words import words
from vlmbench.schema import Prediction, Request, Sample
from vlmbench.task import prompts
from vlmbench.task.loading import find

from . import described, lines

SEED = 0
DECODER = (r"^text_model\.", r"^lm_head\.")
PATCH, LONGEST, SHORTEST = 8, 96, 32
"""Sides of a patch and of a crop, in pixels."""

WIDTH, HEADS = 128, 4
VISION_LAYERS, TEXT_LAYERS, PERCEIVER_LAYERS = 4, 4, 2

CELLS = (8, 8)
"""Rows and columns of a picture's cells, one for each latent."""

NUM_LATENTS = CELLS[0] * CELLS[1]

SLOTS = 4
"""Characters of a cell, from left to right, that its latent learns."""

STYLE = "idefics2"
"""Of prompts: the paper's, and the harness's default."""

MAX_TOKENS = 2048
"""Of a scene's questions with their pictures; a split picture takes 5 * 64 and a few."""

MAX_TURNS, MAX_EXERCISES = 6, 12
"""Questions of a scene, and of one whose questions are exercises."""

MAX_LINES = 4
"""Of a picture to learn reading from."""

CLOSED_WEIGHT = 0.3
"""Of "yes" and "no" while the model learns to see: they need less of the picture than they have of
the data."""

OPEN_SHARE = 0.25
"""Of questions with options: asked without them."""

WITH_OPTIONS = ("mmmu", "mathvista", "mmbench")
"""Tasks from which the texts of lookups come."""

WORKED = ("mmmu", "mathvista")
"""Tasks whose answers are worked out."""

SPLIT_LARGE, SPLIT_SMALL = 0.85, 0.35
"""How often a scene's pictures are split: those beyond a crop's size, and others."""

WATCHED = 40
"""Samples of each mini task that are scored during training."""

TEXT_SCENES = 300
"""Scenes of each task whose words are counted."""

MIN_COUNT, MIN_SHOWN_COUNT = 10, 60
"""How often a word stands there to be an entry of the vocabulary: if no picture shows it, if so."""

CLASSES = {name: index for index, name in enumerate(("", *lines.GLYPHS, *SHAPES))}
"""Of half a patch, or of a cell's slot: the character or shape that it shows; 0 is background."""

COLOR_CLASSES = {name: index for index, name in enumerate(("", *COLORS))}
"""Of a patch or a cell; 0 is background."""

TASK_SHARES = {
    "lookup": 0.04,
    "lines": 0.06,
    "shapes": 0.03,
    "places": 0.04,
    "attributes": 0.04,
    "chart": 0.04,
    "easy_vqa": 0.05,
    "vqav2": 0.09,
    "textvqa": 0.17,
    "docvqa": 0.18,
    "mmmu": 0.1,
    "mathvista": 0.1,
    "mmbench": 0.08,
}
"""Of all samples, once the model can read."""

MORE_TEXT = TASK_SHARES | {"lines": 0.09, "textvqa": 0.2, "docvqa": 0.22}
"""The same for the longest stage."""

FINAL = {
    "pick": 0.04,
    "lookup": 0.01,
    "conclude": 0.06,
    "lines": 0.06,
    "shapes": 0.03,
    "places": 0.02,
    "attributes": 0.02,
    "chart": 0.05,
    "easy_vqa": 0.06,
    "vqav2": 0.07,
    "textvqa": 0.17,
    "docvqa": 0.18,
    "mmmu": 0.12,
    "mathvista": 0.16,
    "mmbench": 0.05,
}
"""The same, where a scene is asked for all it has."""


def recipe() -> Recipe:
    """The whole training."""
    return Recipe(
        name="tiny",
        start=start,
        stages=(
            vision_stage(),
            sight_stage(),
            letters_stage(),
            reading_stage(),
            spelling_stage(),
            whole_stage(),
            finding_stage(),
            last_stage(),
            picking_stage(),
            end_stage(),
            naming_stage(),
            exercises_stage(),
            final_stage(),
            settling_stage(),
            concluding_stage(),
        ),
        seed=SEED,
    )


def vision_stage() -> Stage:
    """Each half of a patch predicts what covers it, and the patch in which colour."""
    return Stage(
        name="vision",
        draw=_labelled,
        objective=DenseLabels(num_classes=(len(CLASSES), len(CLASSES), len(COLOR_CLASSES))),
        optimization=_optimization(peak=1.0, schedule=LEVEL_THEN_DOWN),
        frozen=(r"^connector\.", *DECODER),
        num_steps=1200,
        batch_size=64,
        micro_tokens=1,
        micro_patches=4096,
        log_every=25,
        save_every=200,
    )


def sight_stage() -> Stage:
    """Each latent predicts what stands in its cell, and in which colour.

    The tower learns on: its features told what is in a patch, but hardly where it is.
    """
    return Stage(
        name="sight",
        draw=_labelled_cells,
        objective=DenseLabels(
            places="latents", num_classes=(len(CLASSES),) * SLOTS + (len(COLOR_CLASSES),)
        ),
        optimization=_optimization(peak=1.0, tower=0.5, schedule=LEVEL_THEN_DOWN),
        frozen=DECODER,
        num_steps=2000,
        batch_size=64,
        micro_tokens=1,
        micro_patches=4096,
        log_every=25,
        save_every=200,
    )


def letters_stage() -> Stage:
    """Which letter a text has, which is not learnt from a small share of the samples.

    No picture is needed, and to spell a text again is half of reading one.
    """
    return _answers_stage(
        "letters",
        shares={"lookup": 1.0},
        optimization=_optimization(peak=1.0, schedule=LEVEL),
        frozen=(r"^vision_model\.", r"^connector\."),
        num_steps=400,
    )


def reading_stage() -> Stage:
    """The decoder learns to write down what the latents hold."""
    return _answers_stage(
        "reading",
        shares={
            "lookup": 0.12,
            "lines": 0.38,
            "shapes": 0.1,
            "places": 0.05,
            "attributes": 0.05,
            "chart": 0.05,
            "vqav2": 0.05,
            "textvqa": 0.12,
            "docvqa": 0.08,
        },
        optimization=_optimization(peak=1.0, connector=0.3, schedule=LEVEL),
        frozen=(r"^vision_model\.",),
        num_steps=400,
        asking=Asking(closed_weight=CLOSED_WEIGHT),
    )


def spelling_stage() -> Stage:
    """Mostly lines, which are learnt from tens of thousands: small pictures, none of them split."""
    return _answers_stage(
        "spelling",
        shares={
            "lookup": 0.05,
            "lines": 0.65,
            "shapes": 0.04,
            "attributes": 0.04,
            "chart": 0.04,
            "vqav2": 0.04,
            "textvqa": 0.1,
            "docvqa": 0.04,
        },
        optimization=_optimization(peak=1.0, connector=0.5, schedule=LEVEL),
        frozen=(r"^vision_model\.",),
        num_steps=400,
        asking=Asking(closed_weight=CLOSED_WEIGHT, split_small=0.0),
    )


def whole_stage() -> Stage:
    """All tasks; the tower moves too, as it had not seen any clock or bar, but slowly.

    As fast as the decoder it would forget where things are.
    """
    return _whole("whole", TASK_SHARES, num_steps=200, schedule=LEVEL)


def finding_stage() -> Stage:
    """Mostly questions that name one of several things, which must be found before all else."""
    return _answers_stage(
        "finding",
        shares={
            "lookup": 0.03,
            "lines": 0.1,
            "places": 0.25,
            "attributes": 0.12,
            "chart": 0.1,
            "vqav2": 0.08,
            "textvqa": 0.08,
            "docvqa": 0.12,
            "mmmu": 0.04,
            "mmbench": 0.08,
        },
        optimization=_optimization(peak=0.7, connector=0.5, schedule=LEVEL),
        frozen=(r"^vision_model\.",),
        num_steps=300,
        asking=Asking(split_small=0.0),
    )


def last_stage() -> Stage:
    """All tasks again, more text, slower and slower.

    It was the last when it was run; by its name its samples are drawn.
    """
    return _whole("last", MORE_TEXT, num_steps=1100, schedule=DOWN, evaluate=_evaluate)


def picking_stage() -> Stage:
    """Mostly which letter belongs to a text that the decoder has just written.

    A lookup's question has the text already, and teaches something else.
    """
    return _picking("picking", num_steps=400)


def end_stage() -> Stage:
    """All tasks, and letters."""
    shares = MORE_TEXT | {"pick": 0.08, "easy_vqa": 0.12}
    return _whole("end", shares, num_steps=280, schedule=DOWN, peak=0.35, evaluate=_evaluate)


def naming_stage() -> Stage:
    """Letters again: they were not learnt to the end."""
    return _picking("naming", num_steps=500)


def _picking(name: str, *, num_steps: int) -> Stage:
    return _answers_stage(
        name,
        shares={
            "pick": 0.46,
            "lookup": 0.1,
            "textvqa": 0.06,
            "docvqa": 0.06,
            "mmmu": 0.1,
            "mathvista": 0.06,
            "mmbench": 0.16,
        },
        optimization=_optimization(peak=0.4, schedule=LEVEL),
        frozen=(r"^vision_model\.", r"^connector\."),
        num_steps=num_steps,
        asking=Asking(split_small=0.0),
    )


def exercises_stage() -> Stage:
    """Everything that can be asked about a picture, mostly small ones, with answers worked out.

    The tower learns faster than in the stages before: it had seen few clocks and rulers.
    """
    return _whole(
        "exercises",
        shares={
            "pick": 0.05,
            "lookup": 0.02,
            "lines": 0.1,
            "shapes": 0.04,
            "places": 0.02,
            "attributes": 0.02,
            "chart": 0.06,
            "easy_vqa": 0.05,
            "vqav2": 0.07,
            "textvqa": 0.17,
            "docvqa": 0.12,
            "mmmu": 0.1,
            "mathvista": 0.14,
            "mmbench": 0.04,
        },
        num_steps=600,
        schedule=LEVEL,
        peak=0.4,
        tower=0.3,
        asking=Asking(split_small=0.0, is_exercise=True, is_large=True),
    )


def final_stage() -> Stage:
    """The same with pages and signs of small text.

    By its name its samples are drawn; it was to be the last.
    """
    asking = Asking(is_exercise=True)
    return _whole("final", FINAL, num_steps=300, schedule=LEVEL, peak=0.4, asking=asking)


def settling_stage() -> Stage:
    """The same, slower and slower.

    Tower and resampler move more: what is misread was not seen well.
    """
    return _whole(
        "settling",
        shares=FINAL
        | {
            "conclude": 0.03,
            "pick": 0.03,
            "lines": 0.09,
            "shapes": 0.04,
            "places": 0.01,
            "attributes": 0.01,
            "chart": 0.04,
            "vqav2": 0.08,
            "textvqa": 0.2,
            "docvqa": 0.22,
            "mmmu": 0.1,
            "mathvista": 0.13,
        },
        num_steps=1100,
        schedule=SLOWLY_DOWN,
        peak=0.4,
        connector=0.7,
        tower=0.35,
        asking=Asking(is_exercise=True),
        evaluate=_evaluate,
    )


def concluding_stage() -> Stage:
    """Above all what follows from a working: what it lacked of arithmetic and of looking up.

    Half of all small pictures are split, as all are where the harness asks.
    """
    return _whole(
        "concluding",
        shares={
            "conclude": 0.3,
            "lines": 0.02,
            "shapes": 0.02,
            "easy_vqa": 0.03,
            "vqav2": 0.04,
            "textvqa": 0.1,
            "docvqa": 0.11,
            "mmmu": 0.16,
            "mathvista": 0.17,
            "mmbench": 0.05,
        },
        num_steps=400,
        schedule=DOWN,
        peak=0.3,
        asking=Asking(split_small=0.5, is_exercise=True),
        evaluate=_evaluate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How scenes become conversations."""

    closed_weight: float = 1.0
    """Of "yes" and "no" in the loss."""
    split_small: float = SPLIT_SMALL
    """How often small pictures are split."""
    is_exercise: bool = False
    """Whether a scene is asked for all it has, and answers are worked out."""
    is_large: bool = False
    """Whether signs and pages have large text only, in pictures that need no splitting."""


def _whole(
    name: str,
    shares: Mapping[str, float],
    *,
    num_steps: int,
    schedule: Schedule,
    peak: float = 0.7,
    connector: float = 0.5,
    tower: float = 0.15,
    asking: Asking = Asking(split_small=0.2),
    evaluate: Evaluate | None = None,
) -> Stage:
    """All of the model learns; rates as in `_optimization`."""
    stage = _answers_stage(
        name,
        shares=shares,
        optimization=_optimization(peak=peak, connector=connector, tower=tower, schedule=schedule),
        frozen=(),
        num_steps=num_steps,
        asking=asking,
    )
    return replace(stage, evaluate=evaluate)


def _answers_stage(
    name: str,
    *,
    shares: Mapping[str, float],
    optimization: Optimization,
    frozen: tuple[str, ...],
    num_steps: int,
    asking: Asking = Asking(),
) -> Stage:
    return Stage(
        name=name,
        draw=_mixture(name, shares, asking),
        objective=Answers(max_tokens=MAX_TOKENS, augmentation=Augmentation(shuffle_turns=True)),
        optimization=optimization,
        frozen=frozen,
        num_steps=num_steps,
        batch_size=64,
        micro_tokens=4096,  # more of them leave the cache
        micro_patches=1536,
        log_every=25,
        save_every=100,
    )


def _mixture(
    stage: str, shares: Mapping[str, float], asking: Asking
) -> Callable[[int], Conversation]:
    """By number, a conversation of one of the sources, each as often as its share says."""
    names, weights = list(shares), list(shares.values())

    def draw(index: int) -> Conversation:
        rng = random.Random(f"{stage}/{index}")
        source = rng.choices(names, weights)[0]
        if source in LETTERS:
            return _letters(source, rng)
        if source == "conclude":
            return _conclude(rng)
        if source in DESCRIBED:
            return _described(source, rng, asking.split_small)
        return _scene(source, rng, asking)

    return draw


Drawn = tuple[Canvas | Image.Image, list[tuple[str, str]]]
"""A picture, and questions with their answers."""

DESCRIBED: Mapping[str, Callable[[random.Random], Drawn]] = {
    "lines": partial(lines.read_lines, max_lines=MAX_LINES),
    "shapes": described.shapes,
    "places": described.places,
    "attributes": described.attributes,
    "chart": described.chart,
}
"""Sources that ask for everything in a picture."""


def _described(source: str, rng: random.Random, split_small: float) -> Conversation:
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
        split=rng.random() < _split_share([image], split_small),
        source=source,
    )


def _split_share(shown: Content, small: float) -> float:
    pictures = [piece for piece in shown if isinstance(piece, Image.Image)]
    return SPLIT_LARGE if any(max(each.size) > LONGEST for each in pictures) else small


def _scene(scenes: str, rng: random.Random, asking: Asking) -> Conversation:
    """A scene of a mini task with some of its questions, worded as in an evaluation.

    A choice takes two steps, what the answer is and which letter it has. The first is also asked
    alone here, the second in `_letters`.
    """
    part, number, form = _part(scenes, rng), rng.randrange(10**9), find(TASK_OF[scenes]).form
    if asking.is_large and scenes in ("textvqa", "docvqa"):
        number -= number % 2  # every second scene is large
    if asking.is_exercise:
        exercises = exercises_of(scenes, part, number)
        asked = rng.sample(exercises, min(MAX_EXERCISES, len(exercises)))
        is_choice = all(_is_text(sample.options) for sample, _ in asked)
    else:
        samples = samples_of(scenes, part, number)
        asked = [(sample, "") for sample in rng.sample(samples, min(MAX_TURNS, len(samples)))]
        is_choice = _is_text(asked[0][0].options)
    if is_choice and rng.random() < OPEN_SHARE:
        sample, working = asked[0]
        asked, form = [(_without_options(sample, form), working)], "short_answer"
    return conversation(asked, form, scenes, rng, asking)


def _part(scenes: str, rng: random.Random) -> Part:
    """Every second scene is one to practise, but for the pictures of easy-VQA, which are made."""
    return "practice" if scenes != "easy_vqa" and rng.random() < 0.5 else "train"


def _letters(source: str, rng: random.Random) -> Conversation:
    """Which letter a text has, asked without a picture."""
    turns: list[Turn] = []
    while len(turns) < MAX_TURNS:
        task = rng.choice(WITH_OPTIONS)
        scenes = samples_of(task, _part(task, rng), rng.randrange(10**9))
        asked = (sample.options for sample in scenes if _is_text(sample.options))
        turns += [LETTERS[source](options, rng) for options in asked]
    return Conversation(turns=tuple(turns[:MAX_TURNS]), layout="independent", source=source)


def _conclude(rng: random.Random) -> Conversation:
    """What follows from a working that the question has, asked without a picture."""
    turns: list[Turn] = []
    while len(turns) < MAX_TURNS:
        task = rng.choice(WORKED)
        form = find(task).form
        for sample, working in exercises_of(task, _part(task, rng), rng.randrange(10**9)):
            if working:
                asked = re.sub("<image [0-9]> ?", "", sample.question)
                choices = _choices(sample.options) if _is_text(sample.options) else ""
                text = f"Question: {working} {asked}\n{choices}Answer with what follows."
                turns.append(Turn((text,), _answer(sample, form, working)))
    return Conversation(turns=tuple(turns[:MAX_TURNS]), layout="independent", source="conclude")


def _lookup(options: Mapping[str, str], rng: random.Random) -> Turn:
    """The letter of a text that the question has."""
    letter, text = rng.choice(tuple(options.items()))
    return _choice(f"which letter is {text}?", options, letter)


def _pick(options: Mapping[str, str], rng: random.Random) -> Turn:
    """Any option, and then its letter."""
    return _choice("pick one.", options, rng.choice(tuple(options)))


def _choice(question: str, options: Mapping[str, str], letter: str) -> Turn:
    asked = f"Question: {question}\n{_choices(options)}Answer with the letter."
    return Turn((asked,), _named(options[letter], letter))


def _choices(options: Mapping[str, str]) -> str:
    return "Choices:\n" + "".join(f"{key}. {value}\n" for key, value in options.items())


LETTERS = {"lookup": _lookup, "pick": _pick}
"""Sources without pictures."""


def _named(text: str, letter: str) -> str:
    return f"{text} ({letter})"


def _is_text(options: Mapping[str, str]) -> bool:
    """Whether there are options, and none is a picture."""
    return bool(options) and not any("<image" in text for text in options.values())


def _without_options(sample: Sample, form: str) -> Sample:
    answer = sample.options[prompts.gold(sample, form)]
    return replace(sample, options={}, answers=(answer,))


def conversation(
    exercises: Iterable[tuple[Sample, str]],
    form: str,
    source: str,
    rng: random.Random,
    asking: Asking = Asking(),
) -> Conversation:
    """Samples of the same pictures, and what leads to their answers; prompt style "idefics2".

    Before its letter stands an option's text, as in "left (B)": a decoder of few layers has no room
    for both steps in one token. For the same reason stands there "3 + 4 = 7".
    """
    turns = []
    shared: Content = ()
    for sample, working in exercises:
        request = prompts.request(sample, form=form, style=STYLE, max_new_tokens=None)
        shared, text = _divided(request)
        answer = _answer(sample, form, working)
        weight = asking.closed_weight if answer in ("yes", "no") else 1.0
        turns.append(Turn((text,), answer, weight))
    return Conversation(
        turns=tuple(turns),
        shared=shared,
        layout="independent",
        split=rng.random() < _split_share(shared, asking.split_small),
        source=source,
    )


def _answer(sample: Sample, form: str, working: str) -> str:
    answer = prompts.gold(sample, form)
    if _is_text(sample.options):
        answer = _named(sample.options[answer], answer)
    elif sample.options and working:
        answer = f"({answer})"
    return f"{working} {answer}" if working else answer


def _divided(request: Request) -> tuple[Content, str]:
    """What is before the last text, with its pictures decoded, and that text."""
    *before, text = request.messages[-1].content
    assert isinstance(text, str)
    return tuple(piece if isinstance(piece, str) else piece.decode() for piece in before), text


def _evaluate(model: Idefics2, processor: Processor, step: int) -> Mapping[str, float]:
    """Scores of the first samples of each mini task.

    Only watched: nothing is chosen by them.
    """
    scores = {}
    for name in mini.TASKS:
        every = chain.from_iterable(samples_of(name, "test", n) for n in count())
        scores[f"{name}@mini"] = mean_score(model, processor, name, islice(every, WATCHED))
    return scores


def mean_score(
    model: Idefics2, processor: Processor, name: str, samples: Iterable[Sample]
) -> float:
    """The mean score of a task's samples in percent, by the official rules."""
    task = find(name)
    sampling = Sampling(max_new_tokens=40, stop_ids=processor.stop_ids)
    values = []
    for sample in samples:
        request = prompts.request(sample, form=task.form, style=STYLE, max_new_tokens=None)
        before, text = _divided(request)
        prompt = processor.chat([Message("user", (*before, text))])
        answer = generate(model, [prompt], sampling, processor.decode)[0]
        prediction = Prediction(id=sample.id, response=answer.text)
        values.append(task.score(sample, prediction, "official").value)
    return 100 * sum(values) / len(values)


def _optimization(
    *, peak: float, schedule: Schedule, connector: float = 1.0, tower: float = 1.0
) -> Optimization:
    """Muon for the layers' matrices, AdamW for all else.

    `connector`, `tower`: their rates, as parts of the decoder's.
    """
    return Optimization(
        rules=(
            Rule(r"connector\..*(layers\.|modality_projection)", _muon(peak * connector)),
            Rule(r"vision_model\..*layers\.", _muon(peak * tower)),
            Rule(r"vision_model\.", _adamw(peak * tower)),
            Rule(r"layers\.", _muon(peak)),
            Rule("", _adamw(peak)),
        ),
        schedule=schedule,
    )


def _adamw(peak: float) -> AdamW:
    return AdamW(lr=1e-3 * peak, betas=(0.9, 0.98))


def _muon(peak: float) -> MuonRule:
    return MuonRule(lr=0.01 * peak, weight_decay=0.05, num_iterations=4)


LEVEL = Schedule(warmup_steps=50)
DOWN = Schedule(warmup_steps=50, decay="linear", level_share=0.2, floor=0.01)
SLOWLY_DOWN = Schedule(warmup_steps=50, decay="linear", level_share=0.1, floor=0.01)
LEVEL_THEN_DOWN = Schedule(warmup_steps=50, decay="linear", level_share=0.5, floor=0.02)


def _labelled(index: int) -> LabelledPicture:
    canvas = lines.filled_page(random.Random(f"vision/{index}"))
    return LabelledPicture(picture=canvas.image, labels_NY=patch_labels(canvas), source="page")


def patch_labels(canvas: Canvas) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Classes of the left and the right half of each patch and of its colour, row after row.

    A mark covers a half whose middle column it spans, in the rows of patches where it is at least
    half a patch high, or half of its own height. A colour without a name is no label.
    """
    rows, columns = canvas.height // PATCH, canvas.width // PATCH
    halves = np.zeros((rows, 2 * columns), np.int64)
    colors = np.zeros((rows, columns), np.int64)
    half = PATCH // 2
    for name, box, color, _ in canvas.marks:
        needed = min(half, (box.bottom - box.top) / 2)
        first, last = (
            max(0, -(-(box.left - half // 2) // half)),
            (box.right - 1 - half // 2) // half,
        )
        color_class = COLOR_CLASSES[color] if isinstance(color, str) else UNLABELLED
        for row in range(max(0, box.top // PATCH), min(rows, -(-box.bottom // PATCH))):
            top = row * PATCH
            if min(box.bottom, top + PATCH) - max(box.top, top) >= needed:
                halves[row, first : last + 1] = CLASSES[name]
                colors[row, first // 2 : last // 2 + 1] = color_class
    return np.concatenate([halves.reshape(-1, 2), colors.reshape(-1, 1)], 1)


def _labelled_cells(index: int) -> LabelledPicture:
    rng = random.Random(f"sight/{index}")
    kind = rng.choices(("page", "lines", "sign", "shapes"), (0.35, 0.3, 0.2, 0.15))[0]
    if kind == "page":
        canvas = lines.filled_page(rng)
    elif kind == "sign":
        canvas = textvqa.sign(rng)
    else:
        canvas = (lines.read_lines(rng, MAX_LINES) if kind == "lines" else described.shapes(rng))[0]
    return LabelledPicture(picture=canvas.image, labels_NY=cell_labels(canvas), source=kind)


def cell_labels(canvas: Canvas) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Classes of each cell's characters from left to right and of their colour, row after row.

    A character is in the column that its own middle is in, and in the row of its line's middle. A
    shape is in one cell too; what is written over it takes its place.
    """
    rows, columns = CELLS
    cells: dict[int, list[Mark]] = {}
    for mark in canvas.marks:
        row = (mark.line.top + mark.line.bottom) * rows // (2 * canvas.height)
        column = (mark.box.left + mark.box.right) * columns // (2 * canvas.width)
        row, column = max(0, min(rows - 1, row)), max(0, min(columns - 1, column))
        cells.setdefault(row * columns + column, []).append(mark)
    labels = np.zeros((rows * columns, SLOTS + 1), np.int64)
    for cell, marks in cells.items():
        written = [mark for mark in marks if mark.name not in SHAPES] or marks[-1:]
        written.sort(key=lambda mark: mark.box.left + mark.box.right)
        for slot, mark in enumerate(written[:SLOTS]):
            labels[cell, slot] = CLASSES[mark.name]
        color = written[0].color
        labels[cell, SLOTS] = COLOR_CLASSES[color] if isinstance(color, str) else UNLABELLED
    return labels


def start(folder: Path) -> Path:
    """Writes the untrained checkpoint and gives its folder; one that is there stays."""
    if not (folder / "config.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # a kill may have left a part
        folder.mkdir(parents=True)
        tokenizer = build_tokenizer(_known_words())
        model = Idefics2(_config(tokenizer.get_vocab_size()))
        draw_parameters(model)
        for name, content in _processor_files().items():
            (folder / name).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        tokenizer.save(str(folder / "tokenizer.json"))
        save_model(model, folder)
    return folder


def _known_words() -> list[str]:
    """Words of the train parts' questions and answers.

    What pictures show is spelled, if questions do not use it often too: models must read it in
    test parts that have other such words.
    """
    shown = {*words("train"), *fields.PEOPLE, *fields.CITIES, *fields.ITEMS}
    counts = count_words(_texts())
    return [
        word
        for word, n in counts.items()
        if n >= (MIN_SHOWN_COUNT if word.lstrip("\u0120").lower() in shown else MIN_COUNT)
    ]


def _texts() -> Iterator[str]:
    for task in mini.TASKS:
        form = find(task).form
        for number in range(TEXT_SCENES):
            for sample in samples_of(task, "train", number):
                request = prompts.request(sample, form=form, style=STYLE, max_new_tokens=None)
                yield f"User:{_divided(request)[1]} Assistant: {prompts.gold(sample, form)}"
    for ordinal in lines.ORDINALS:
        yield from [f"User: what is the {ordinal} line written here? Assistant:"] * MIN_COUNT


def _config(vocab_size: int) -> Idefics2Config:
    ids = {name: index for index, name in enumerate(SPECIAL)}
    return Idefics2Config(
        vision=VisionConfig(
            width=WIDTH,
            mlp_width=4 * WIDTH,
            num_layers=VISION_LAYERS,
            num_heads=HEADS,
            image_size=LONGEST,
            patch_size=PATCH,
        ),
        perceiver=PerceiverConfig(
            num_latents=NUM_LATENTS,
            num_layers=PERCEIVER_LAYERS,
            num_heads=HEADS,
            num_kv_heads=2,
            head_width=32,
        ),
        text=TextConfig(
            vocab_size=vocab_size,
            width=WIDTH,
            mlp_width=3 * WIDTH,
            num_layers=TEXT_LAYERS,
            num_heads=HEADS,
            num_kv_heads=2,
            head_width=WIDTH // HEADS,
            sliding_window=None,
            max_positions=4096,
            bos_id=ids["<s>"],
            eos_ids=(ids["</s>"],),
            pad_id=ids["<unk>"],
        ),
        image_id=ids["<image>"],
    )


def _processor_files() -> Mapping[str, Any]:
    """As transformers writes them, which loads the checkpoint too."""
    ids = {name: index for index, name in enumerate(SPECIAL)}
    half = [0.5, 0.5, 0.5]
    image_processor = {
        "image_processor_type": "Idefics2ImageProcessor",
        "do_convert_rgb": True,
        "do_image_splitting": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": half,
        "image_std": half,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": LONGEST, "shortest_edge": SHORTEST},
    }
    return {
        "preprocessor_config.json": image_processor | {"processor_class": "Idefics2Processor"},
        "processor_config.json": {
            "processor_class": "Idefics2Processor",
            "image_seq_len": NUM_LATENTS,
        },
        "chat_template.json": {"chat_template": RELEASED_TEMPLATE},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "Idefics2Processor",
            "model_max_length": 4096,
            "unk_token": "<unk>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<unk>",
            "clean_up_tokenization_spaces": False,
        },
        "generation_config.json": {
            "bos_token_id": ids["<s>"],
            "eos_token_id": [ids["</s>"], ids["<end_of_utterance>"]],
            "pad_token_id": ids["<unk>"],
            "bad_words_ids": [[ids["<fake_token_around_image>"]], [ids["<image>"]]],
        },
    }


@torch.no_grad()
def draw_parameters(model: Idefics2) -> None:
    """Wider than `initialize` draws them, which suits so narrow a model.

    Each parameter has random numbers of its own, so that one module's size moves no other's. The
    resampler's output is scaled to the token embeddings', among which it stands.
    """
    initialize(model, SEED)
    depth = {"vision_model": VISION_LAYERS, "text_model": TEXT_LAYERS}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            std = 0.7 / math.sqrt(module.in_features)
            if re.search(r"\.(out_proj|fc2|o_proj|down_proj)$", name):
                std /= math.sqrt(2 * depth.get(name.partition(".")[0], PERCEIVER_LAYERS))
            _draw(module.weight, name, std)
    _draw(model.lm_head.weight, "lm_head", 0.02)
    _draw(model.text_model.embed_tokens.weight, "embed_tokens", WIDTH**-0.5)
    resampler = model.connector.perceiver_resampler
    _draw(resampler.latents, "latents", WIDTH**-0.5)
    resampler.norm.weight.fill_(WIDTH**-0.5)
    model.vision_model.position_embedding.weight.copy_(0.3 * _waves(LONGEST // PATCH))


def _draw(parameter: Tensor, name: str, std: float) -> None:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{SEED}/{name}".encode()))
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def _waves(side: int) -> Tensor:
    """Sines and cosines of row and column, [side * side, WIDTH]."""
    frequencies = 100 ** -(torch.arange(WIDTH // 4) / (WIDTH // 4))
    angles = torch.arange(side)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)
