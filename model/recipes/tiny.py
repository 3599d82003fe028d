"""`idefics2:tiny`: a small Idefics2 that learns to see and to read from nothing.

First the vision tower alone learns which letter or shape covers each patch, and the resampler what
stands in each latent's cell of the picture. Then the decoder reads lines, and at last the whole
model answers the train parts of the six mini tasks, worded as the harness asks them. No size or
setting here is the paper's.
"""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
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
from idefics2.train.recipe import Recipe, Stage
from idefics2.train.samples import Content, Conversation, Turn
from idefics2.train.vocabulary import SPECIAL, build_tokenizer, count_words
from idefics2.weights import save_model
from vlmbench import mini, prompts
from vlmbench.mini import described, fields, lines
from vlmbench.mini.columns import TASK_OF
from vlmbench.mini.drawing import COLORS, SHAPES, Canvas
from vlmbench.mini.stream import samples as samples_of
from vlmbench.mini.words import words
from vlmbench.schema import Prediction, Request, Sample
from vlmbench.task import find

SEED = 0
PATCH, LONGEST, SHORTEST = 8, 96, 32
"""Sides of a patch and of a crop, in pixels."""

WIDTH, HEADS = 128, 4
VISION_LAYERS, TEXT_LAYERS, PERCEIVER_LAYERS = 4, 3, 2

CELLS = (8, 4)
"""Rows and columns of a picture's cells, one for each latent."""

NUM_LATENTS = CELLS[0] * CELLS[1]

SLOTS = 6
"""Places in a cell, side by side, whose letters its latent learns."""

STYLE = "idefics2"
"""Of prompts: the paper's, and the harness's default."""

MAX_TOKENS = 1024
"""Of one question with its pictures; a split picture takes 5 * 32 and a few."""

MAX_TURNS = 6
"""Questions of a scene."""

MAX_LINES = 4
"""Of a picture to learn reading from."""

CLOSED_WEIGHT = 0.3
"""Of "yes" and "no", which need less of the picture than they have of the data."""

OPEN_SHARE, LOOKUP_SHARE = 0.25, 0.1
"""Of questions with options: asked without them, and asked for the letter of a text."""

WITH_OPTIONS = ("mmmu", "mathvista", "mmbench")
"""Tasks from which the texts of lookups come."""

SPLIT_SHARES = {"large": 0.85, "small": 0.25}
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
    "lines": 0.06,
    "shapes": 0.05,
    "chart": 0.05,
    "easy_vqa": 0.06,
    "vqav2": 0.1,
    "textvqa": 0.17,
    "docvqa": 0.2,
    "mmmu": 0.11,
    "mathvista": 0.11,
    "mmbench": 0.09,
}
"""Of all samples, once the model can read."""


def recipe() -> Recipe:
    """The whole training."""
    return Recipe(
        name="tiny",
        start=start,
        stages=(
            vision_stage(),
            latents_stage(),
            reading_stage(),
            tasks_stage(),
            whole_stage(),
            letters_stage(),
            again_stage(),
            finding_stage(),
            more_stage(),
            picking_stage(),
            last_stage(),
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
        frozen=(r"^connector\.", r"^text_model\.", r"^lm_head\."),
        num_steps=1400,
        batch_size=64,
        micro_tokens=1,
        micro_patches=4096,
        log_every=25,
        save_every=200,
    )


def latents_stage() -> Stage:
    """Each latent predicts what stands in its cell, and in which colour."""
    return Stage(
        name="latents",
        draw=_labelled_cells,
        objective=DenseLabels(
            places="latents", num_classes=(len(CLASSES),) * SLOTS + (len(COLOR_CLASSES),)
        ),
        optimization=_optimization(peak=1.0, schedule=LEVEL_THEN_DOWN),
        frozen=(r"^vision_model\.", r"^text_model\.", r"^lm_head\."),
        num_steps=2400,
        batch_size=64,
        micro_tokens=1,
        micro_patches=4096,
        log_every=25,
        save_every=200,
    )


def reading_stage() -> Stage:
    """The decoder learns to write down what the latents hold."""
    return _answers_stage(
        "reading",
        shares={
            "lines": 0.5,
            "shapes": 0.15,
            "chart": 0.05,
            "vqav2": 0.1,
            "textvqa": 0.1,
            "docvqa": 0.05,
            "mmbench": 0.05,
        },
        optimization=_optimization(peak=1.0, connector=0.3, schedule=LEVEL),
        frozen=(r"^vision_model\.",),
        num_steps=900,
    )


def tasks_stage() -> Stage:
    """All tasks, with the tower as it is, which costs less than if it moved."""
    return _answers_stage(
        "tasks",
        shares=TASK_SHARES,
        optimization=_optimization(peak=0.5, schedule=LEVEL),
        frozen=(r"^vision_model\.",),
        num_steps=400,
    )


def whole_stage() -> Stage:
    """The tower moves too: it had not seen any clock or bar."""
    stage = _answers_stage(
        "whole",
        shares=TASK_SHARES,
        optimization=_optimization(peak=0.3, schedule=LEVEL_THEN_DOWN),
        frozen=(),
        num_steps=900,
    )
    return replace(stage, evaluate=_evaluate, evaluate_every=450)


def letters_stage() -> Stage:
    """Mostly which letter a text has, which is not learnt from a small share of the samples."""
    return _answers_stage(
        "letters",
        shares={"lookup": 0.75, "docvqa": 0.1, "textvqa": 0.1, "vqav2": 0.05},
        optimization=_optimization(peak=0.4, schedule=LEVEL),
        frozen=(r"^vision_model\.", r"^connector\."),
        num_steps=300,
    )


def again_stage() -> Stage:
    """As before, with letters, more questions where things are, and "yes" and "no" in full."""
    stage = _answers_stage(
        "again",
        shares={"lookup": 0.05, "places": 0.05} | TASK_SHARES,
        optimization=_optimization(peak=0.3, schedule=DOWN),
        frozen=(),
        num_steps=600,
        closed_weight=1.0,
    )
    return replace(stage, evaluate=_evaluate)


def finding_stage() -> Stage:
    """Mostly questions that name one of several shapes, which must be found before all else."""
    return _answers_stage(
        "finding",
        shares={
            "places": 0.3,
            "attributes": 0.15,
            "easy_vqa": 0.1,
            "vqav2": 0.15,
            "mmbench": 0.1,
            "lookup": 0.05,
            "textvqa": 0.075,
            "docvqa": 0.075,
        },
        optimization=_optimization(peak=0.4, schedule=LEVEL),
        frozen=(r"^vision_model\.",),
        num_steps=600,
        closed_weight=1.0,
        names_choice=True,
    )


def more_stage() -> Stage:
    """All that came before."""
    return _answers_stage(
        "more",
        shares={"lookup": 0.03, "places": 0.05, "attributes": 0.04} | TASK_SHARES,
        optimization=_optimization(peak=0.3, schedule=DOWN),
        frozen=(),
        num_steps=800,
        closed_weight=1.0,
        names_choice=True,
    )


def picking_stage() -> Stage:
    """Mostly which letter belongs to a text that the decoder has just written."""
    return _answers_stage(
        "picking",
        shares={"pick": 0.65, "mmbench": 0.15, "textvqa": 0.08, "docvqa": 0.07, "vqav2": 0.05},
        optimization=_optimization(peak=0.4, schedule=LEVEL),
        frozen=(r"^vision_model\.", r"^connector\."),
        num_steps=300,
        closed_weight=1.0,
        names_choice=True,
    )


def last_stage() -> Stage:
    """All, and less and less of it."""
    stage = _answers_stage(
        "last",
        shares={"pick": 0.04, "places": 0.04, "attributes": 0.04} | TASK_SHARES,
        optimization=_optimization(peak=0.3, schedule=DOWN),
        frozen=(),
        num_steps=350,
        closed_weight=1.0,
        names_choice=True,
    )
    return replace(stage, evaluate=_evaluate)


def _answers_stage(
    name: str,
    *,
    shares: Mapping[str, float],
    optimization: Optimization,
    frozen: tuple[str, ...],
    num_steps: int,
    closed_weight: float = CLOSED_WEIGHT,
    names_choice: bool = False,
) -> Stage:
    return Stage(
        name=name,
        draw=_mixture(name, shares, closed_weight, names_choice),
        objective=Answers(max_tokens=MAX_TOKENS, augmentation=Augmentation(shuffle_turns=True)),
        optimization=optimization,
        frozen=frozen,
        num_steps=num_steps,
        batch_size=64,
        micro_tokens=16_384,
        micro_patches=6144,
        log_every=25,
        save_every=100,
    )


def _mixture(
    stage: str, shares: Mapping[str, float], closed_weight: float, names_choice: bool
) -> Callable[[int], Conversation]:
    """By number, a conversation of one of the sources, each as often as its share says."""
    names, weights = list(shares), list(shares.values())

    def draw(index: int) -> Conversation:
        rng = random.Random(f"{stage}/{index}")
        source = rng.choices(names, weights)[0]
        if source in LETTERS:
            return _letters(source, rng)
        if source in DESCRIBED:
            return _described(source, rng)
        return _scene(source, rng, closed_weight, names_choice)

    return draw


Described = tuple[Image.Image, list[tuple[str, str]]]
"""A picture, and questions with their answers."""


def _read_lines(rng: random.Random) -> Described:
    canvas, questions = lines.read_lines(rng, MAX_LINES)
    return canvas.image, questions


def _place_shapes(rng: random.Random) -> Described:
    canvas, questions = described.places(rng)
    return canvas.image, questions


def _name_attributes(rng: random.Random) -> Described:
    canvas, questions = described.attributes(rng)
    return canvas.image, questions


def _list_shapes(rng: random.Random) -> Described:
    canvas, questions = described.shapes(rng)
    return canvas.image, questions


DESCRIBED: Mapping[str, Callable[[random.Random], Described]] = {
    "lines": _read_lines,
    "shapes": _list_shapes,
    "places": _place_shapes,
    "attributes": _name_attributes,
    "chart": described.chart,
}
"""Sources that ask for everything in a picture."""


def _described(source: str, rng: random.Random) -> Conversation:
    image, questions = DESCRIBED[source](rng)
    turns = (
        Turn((f"Question: {question}\nGive a very brief answer.",), answer)
        for question, answer in questions
    )
    return Conversation(
        shared=(image,),
        turns=tuple(turns),
        layout="independent",
        split=rng.random() < _split_share(image),
        source=source,
    )


def _split_share(image: Image.Image) -> float:
    return SPLIT_SHARES["large" if max(image.size) > LONGEST else "small"]


def _scene(
    scenes: str, rng: random.Random, closed_weight: float, names_choice: bool
) -> Conversation:
    """A scene of a mini task with some of its questions, worded as in an evaluation.

    A choice takes two steps, what the answer is and which letter it has; each is also asked alone.
    """
    samples = samples_of(scenes, "train", rng.randrange(10**9))
    form = find(TASK_OF[scenes]).form
    asked = rng.sample(samples, min(MAX_TURNS, len(samples)))
    step = rng.random()
    if not _is_text(asked[0].options) or step >= LOOKUP_SHARE + OPEN_SHARE:
        return conversation(asked, form, scenes, rng, closed_weight, names_choice)
    if step < LOOKUP_SHARE:
        return Conversation(turns=(_lookup(asked[0].options, rng),), source="lookup")
    asked, form = [_without_options(asked[0], form)], "short_answer"
    return conversation(asked, form, scenes, rng, closed_weight, names_choice)


def _letters(source: str, rng: random.Random) -> Conversation:
    """Questions about options alone, without a picture."""
    turns: list[Turn] = []
    while len(turns) < MAX_TURNS:
        scenes = samples_of(rng.choice(WITH_OPTIONS), "train", rng.randrange(10**9))
        turns += [
            LETTERS[source](sample.options, rng) for sample in scenes if _is_text(sample.options)
        ]
    return Conversation(turns=tuple(turns[:MAX_TURNS]), layout="independent", source=source)


def _lookup(options: Mapping[str, str], rng: random.Random) -> Turn:
    letter, text = rng.choice(tuple(options.items()))
    choices = "".join(f"{key}. {value}\n" for key, value in options.items())
    question = f"Question: which letter is {text}?\nChoices:\n{choices}Answer with the letter."
    return Turn((question,), letter)


def _pick(options: Mapping[str, str], rng: random.Random) -> Turn:
    """Any option, which is then to be given its letter."""
    letter, text = rng.choice(tuple(options.items()))
    choices = "".join(f"{key}. {value}\n" for key, value in options.items())
    return Turn(
        (f"Question: pick one.\nChoices:\n{choices}Answer with the letter.",), _named(text, letter)
    )


def _named(text: str, letter: str) -> str:
    return f"{text} ({letter})"


LETTERS = {"lookup": _lookup, "pick": _pick}
"""Sources without pictures."""


def _is_text(options: Mapping[str, str]) -> bool:
    """Whether there are options, and none is a picture."""
    return bool(options) and not any("<image" in text for text in options.values())


def _without_options(sample: Sample, form: str) -> Sample:
    answer = sample.options[prompts.gold(sample, form)]
    return replace(sample, options={}, answers=(answer,))


def conversation(
    samples: Sequence[Sample],
    form: str,
    source: str,
    rng: random.Random,
    closed_weight: float = 1.0,
    names_choice: bool = False,
) -> Conversation:
    """Samples with the same pictures and their gold answers, in the prompt style "idefics2".

    `closed_weight`: of "yes" and "no" in the loss. `names_choice`: before its letter, an option's
    text, as in "left (B)": a decoder of few layers has no room for both steps in one token.
    """
    turns = []
    shared: Content = ()
    for sample in samples:
        request = prompts.request(sample, form=form, style=STYLE, max_new_tokens=None)
        shared, text = _divided(request)
        answer = prompts.gold(sample, form)
        weight = closed_weight if answer in ("yes", "no") else 1.0
        if names_choice and _is_text(sample.options):
            answer = _named(sample.options[answer], answer)
        turns.append(Turn((text,), answer, weight))
    share = max(_split_share(piece) for piece in shared if isinstance(piece, Image.Image))
    return Conversation(
        turns=tuple(turns),
        shared=shared,
        layout="independent",
        split=rng.random() < share,
        source=source,
    )


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
    sampling = Sampling(max_new_tokens=24, stop_ids=processor.stop_ids)
    values = []
    for sample in samples:
        request = prompts.request(sample, form=task.form, style=STYLE, max_new_tokens=None)
        before, text = _divided(request)
        prompt = processor.chat([Message("user", (*before, text))])
        answer = generate(model, [prompt], sampling, processor.decode)[0]
        prediction = Prediction(id=sample.id, response=answer.text)
        values.append(task.score(sample, prediction, "official").value)
    return 100 * sum(values) / len(values)


def _optimization(*, peak: float, schedule: Schedule, connector: float = 1.0) -> Optimization:
    """Muon for the layers' matrices, AdamW for all else.

    `connector`: by how much it learns slower than the rest.
    """
    return Optimization(
        rules=(
            Rule(r"connector\..*(layers\.|modality_projection)", _muon(peak * connector)),
            Rule(r"layers\.", _muon(peak)),
            Rule("", AdamW(lr=1e-3 * peak, betas=(0.9, 0.98))),
        ),
        schedule=schedule,
    )


def _muon(peak: float) -> MuonRule:
    return MuonRule(lr=0.01 * peak, weight_decay=0.05, num_iterations=4)


LEVEL = Schedule(warmup_steps=50)
DOWN = Schedule(warmup_steps=50, decay="linear", floor=0.02)
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
    rng = random.Random(f"latents/{index}")
    kind = rng.choices(("page", "lines", "shapes"), (0.45, 0.35, 0.2))[0]
    if kind == "page":
        canvas = lines.filled_page(rng)
    else:
        canvas = (lines.read_lines(rng, MAX_LINES) if kind == "lines" else described.shapes(rng))[0]
    return LabelledPicture(picture=canvas.image, labels_NY=cell_labels(canvas), source=kind)


def cell_labels(canvas: Canvas) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Classes of each cell's slots from left to right and of its colour, row after row.

    A line of text is in the row of cells that its middle is in, and there a glyph is in each slot
    whose middle it spans, or in the one where its own middle is. A shape is in one cell.
    """
    rows, columns = CELLS
    num_slots = columns * SLOTS
    slots = np.zeros((rows, num_slots), np.int64)
    colors = np.zeros((rows, columns), np.int64)
    for name, box, color, line in canvas.marks:
        row = (line.top + line.bottom) * rows // (2 * canvas.height)
        middle = (box.left + box.right) * num_slots // (2 * canvas.width)
        row, middle = max(0, min(rows - 1, row)), max(0, min(num_slots - 1, middle))
        if name in SHAPES:
            first = middle // SLOTS * SLOTS
            last = first + SLOTS - 1
        else:
            first = max(0, math.ceil(box.left * num_slots / canvas.width - 0.5))
            last = min(num_slots, math.ceil(box.right * num_slots / canvas.width - 0.5)) - 1
            if last < first:
                first = last = middle
        slots[row, first : last + 1] = CLASSES[name]
        color_class = COLOR_CLASSES[color] if isinstance(color, str) else UNLABELLED
        colors[row, first // SLOTS : last // SLOTS + 1] = color_class
    return np.concatenate([slots.reshape(-1, SLOTS), colors.reshape(-1, 1)], 1)


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
