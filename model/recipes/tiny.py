"""`idefics2:tiny`: a small Idefics2 that learns to see and to read from nothing.

First the vision tower alone learns which letter or shape covers each patch, then the whole model
reads lines, then it answers the train parts of the six mini tasks, worded as the harness asks them.
No size or setting here is the paper's.
"""

from __future__ import annotations

import json
import math
import random
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from idefics2.train.objectives import Answers
from idefics2.train.optimization import AdamW, MuonRule, Optimization, Rule, Schedule
from idefics2.train.patch_labels import LabelledPicture, PatchLabels
from idefics2.train.recipe import Recipe, Stage
from idefics2.train.samples import Content, Conversation, Turn
from idefics2.train.vocabulary import SPECIAL, build_tokenizer, count_words
from idefics2.weights import save_model
from vlmbench import mini, prompts
from vlmbench.mini import fields, lines
from vlmbench.mini.columns import TASK_OF
from vlmbench.mini.drawing import SHAPES, Canvas
from vlmbench.mini.stream import samples as samples_of
from vlmbench.mini.words import words
from vlmbench.schema import Prediction, Request, Sample
from vlmbench.task import find

SEED = 0
PATCH, LONGEST, SHORTEST = 8, 96, 32
"""Sides of a patch and of a crop, in pixels."""

WIDTH, HEADS = 128, 4
VISION_LAYERS, TEXT_LAYERS, PERCEIVER_LAYERS = 4, 3, 2
NUM_LATENTS = 32

STYLE = "idefics2"
"""Of prompts: the paper's, and the harness's default."""

MAX_TOKENS = 1024
"""Of one question with its pictures; a split picture takes 5 * 32 and a few."""

MAX_TURNS = 6
"""Questions of a scene."""

CLOSED_WEIGHT = 0.3
"""Of "yes" and "no", which need less of the picture than they have of the data."""

OPEN_SHARE, LOOKUP_SHARE = 0.25, 0.1
"""Of questions with options: asked without them, and asked for the letter of a text."""

SPLIT_SHARES = {"large": 0.85, "small": 0.25}
"""How often a scene's pictures are split: those beyond a crop's size, and others."""

WATCHED = 40
"""Samples of each mini task that are scored during training."""

TEXT_SCENES = 300
"""Scenes of each task whose words are counted."""

MIN_COUNT, MIN_SHOWN_COUNT = 10, 60
"""How often a word stands there to be an entry of the vocabulary: if no picture shows it, if so."""

CLASSES = {name: index for index, name in enumerate(("", *lines.GLYPHS, *SHAPES))}
"""Of a patch; 0 is background."""


def recipe() -> Recipe:
    """The whole training."""
    return Recipe(
        name="tiny",
        start=start,
        stages=(vision_stage(), reading_stage(), tasks_stage()),
        seed=SEED,
    )


def vision_stage() -> Stage:
    """Each half of a patch predicts what covers it."""
    return Stage(
        name="vision",
        draw=_labelled,
        objective=PatchLabels(num_classes=(len(CLASSES),) * 2),
        optimization=_optimization(peak=1.0, schedule=LEVEL_THEN_DOWN),
        frozen=(r"^connector\.", r"^text_model\.", r"^lm_head\."),
        num_steps=1400,
        batch_size=64,
        micro_tokens=1,
        micro_patches=4096,
        log_every=25,
        save_every=200,
    )


def reading_stage() -> Stage:
    """The resampler and the decoder learn to write down what the tower sees."""
    return Stage(
        name="reading",
        draw=_mixture("reading", {"lines": 0.7, "textvqa": 0.15, "vqav2": 0.15}),
        objective=Answers(max_tokens=MAX_TOKENS, augmentation=Augmentation(shuffle_turns=True)),
        optimization=_optimization(peak=1.0, schedule=LEVEL_THEN_DOWN),
        frozen=(r"^vision_model\.",),
        num_steps=700,
        batch_size=96,
        micro_tokens=16_384,
        micro_patches=6144,
        log_every=25,
        save_every=100,
    )


def tasks_stage() -> Stage:
    """Everything at once. The tower moves too: its labels had said nothing of colours."""
    shares = {
        "lines": 0.08,
        "easy_vqa": 0.06,
        "vqav2": 0.1,
        "textvqa": 0.18,
        "docvqa": 0.3,
        "mmmu": 0.08,
        "mathvista": 0.1,
        "mmbench": 0.1,
    }
    return Stage(
        name="tasks",
        draw=_mixture("tasks", shares),
        objective=Answers(max_tokens=MAX_TOKENS, augmentation=Augmentation(shuffle_turns=True)),
        optimization=_optimization(peak=0.3, schedule=LEVEL_THEN_DOWN),
        num_steps=270,
        batch_size=64,
        micro_tokens=16_384,
        micro_patches=6144,
        log_every=20,
        save_every=50,
        evaluate=_evaluate,
        evaluate_every=500,
    )


def _mixture(stage: str, shares: Mapping[str, float]) -> Callable[[int], Conversation]:
    """By number, a conversation of one of the sources, each as often as its share says."""
    names, weights = list(shares), list(shares.values())

    def draw(index: int) -> Conversation:
        rng = random.Random(f"{stage}/{index}")
        source = rng.choices(names, weights)[0]
        return _lines(rng) if source == "lines" else _scene(source, rng)

    return draw


def _lines(rng: random.Random) -> Conversation:
    canvas, questions = lines.read_lines(rng, max_lines=4)
    turns = (
        Turn((f"Question: {question}\nGive a very brief answer.",), answer)
        for question, answer in questions
    )
    return Conversation(
        shared=(canvas.image,), turns=tuple(turns), layout="independent", source="lines"
    )


def _scene(scenes: str, rng: random.Random) -> Conversation:
    """A scene of a mini task with some of its questions, worded as in an evaluation.

    A choice takes two steps, what the answer is and which letter it has; each is also asked alone.
    """
    samples = samples_of(scenes, "train", rng.randrange(10**9))
    form = find(TASK_OF[scenes]).form
    asked = rng.sample(samples, min(MAX_TURNS, len(samples)))
    options = "".join(asked[0].options.values())
    step = rng.random()
    if not options or "<image" in options or step >= LOOKUP_SHARE + OPEN_SHARE:
        return conversation(asked, form, scenes, rng)
    if step < LOOKUP_SHARE:
        return _lookup(asked[0], rng)
    return conversation([_without_options(asked[0], form)], "short_answer", scenes, rng)


def _lookup(sample: Sample, rng: random.Random) -> Conversation:
    letter, text = rng.choice(tuple(sample.options.items()))
    choices = "".join(f"{key}. {value}\n" for key, value in sample.options.items())
    question = f"Question: which letter is {text}?\nChoices:\n{choices}Answer with the letter."
    return Conversation(turns=(Turn((question,), letter),), source="lookup")


def _without_options(sample: Sample, form: str) -> Sample:
    answer = sample.options[prompts.gold(sample, form)]
    return replace(sample, options={}, answers=(answer,))


def conversation(
    samples: Sequence[Sample], form: str, source: str, rng: random.Random
) -> Conversation:
    """Samples with the same pictures and their gold answers, in the prompt style "idefics2"."""
    turns = []
    shared: Content = ()
    for sample in samples:
        request = prompts.request(sample, form=form, style=STYLE, max_new_tokens=None)
        shared, text = _divided(request)
        answer = prompts.gold(sample, form)
        turns.append(Turn((text,), answer, CLOSED_WEIGHT if answer in ("yes", "no") else 1.0))
    is_large = any(isinstance(p, Image.Image) and max(p.size) > LONGEST for p in shared)
    share = SPLIT_SHARES["large" if is_large else "small"]
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
    """Scores in percent on the first samples of each mini task, by the official rules.

    Only watched: nothing is chosen by them.
    """
    sampling = Sampling(max_new_tokens=24, stop_ids=processor.stop_ids)
    scores = {}
    for name in mini.TASKS:
        task = find(name)
        every = chain.from_iterable(samples_of(name, "test", n) for n in count())
        values = []
        for sample in islice(every, WATCHED):
            request = prompts.request(sample, form=task.form, style=STYLE, max_new_tokens=None)
            before, text = _divided(request)
            prompt = processor.chat([Message("user", (*before, text))])
            answer = generate(model, [prompt], sampling, processor.decode)[0]
            prediction = Prediction(id=sample.id, response=answer.text)
            values.append(task.score(sample, prediction, "official").value)
        scores[f"{name}@mini"] = 100 * sum(values) / len(values)
    return scores


def _optimization(*, peak: float, schedule: Schedule) -> Optimization:
    """Muon for the layers' matrices, AdamW for all else."""
    return Optimization(
        rules=(
            Rule(
                r"layers\.|modality_projection",
                MuonRule(lr=0.01 * peak, weight_decay=0.05, num_iterations=4),
            ),
            Rule("", AdamW(lr=1e-3 * peak, betas=(0.9, 0.98))),
        ),
        schedule=schedule,
    )


LEVEL_THEN_DOWN = Schedule(warmup_steps=50, decay="linear", level_share=0.5, floor=0.02)


def _labelled(index: int) -> LabelledPicture:
    canvas = lines.filled_page(random.Random(f"vision/{index}"))
    return LabelledPicture(picture=canvas.image, labels_PY=patch_labels(canvas), source="page")


def patch_labels(canvas: Canvas) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Classes of the left and the right half of each patch, row after row.

    A mark covers a half whose middle column it spans, in the rows of patches where it is at least
    half a patch high, or half of its own height.
    """
    rows, columns = canvas.height // PATCH, canvas.width // PATCH
    labels = np.zeros((rows, 2 * columns), np.int64)
    half = PATCH // 2
    for name, box in canvas.marks:
        needed = min(half, (box.bottom - box.top) / 2)
        first, last = (
            max(0, -(-(box.left - half // 2) // half)),
            (box.right - 1 - half // 2) // half,
        )
        for row in range(max(0, box.top // PATCH), min(rows, -(-box.bottom // PATCH))):
            top = row * PATCH
            if min(box.bottom, top + PATCH) - max(box.top, top) >= needed:
                labels[row, first : last + 1] = CLASSES[name]
    return labels.reshape(-1, 2)


def start(folder: Path) -> Path:
    """Writes the untrained checkpoint and gives its folder; one that is there stays."""
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
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
