"""The checkpoint that the training starts from: vocabulary, configuration, random parameters."""

from __future__ import annotations

import json
import math
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idefics2.chat import RELEASED_TEMPLATE
from idefics2.config import Idefics2Config, PerceiverConfig, TextConfig, VisionConfig
from idefics2.model import Idefics2, initialize
from idefics2.train.vocabulary import SPECIAL, build_tokenizer, count_words
from idefics2.weights import save_model
from vlmbench.data import mini
from vlmbench.data.mini import fields
from vlmbench.data.mini.words import words
from vlmbench.task import prompts

from . import lines
from .conversations import STYLE, divided
from .scenes import samples, task_of
from .sizes import (
    HEADS,
    LONGEST,
    NUM_LATENTS,
    PATCH,
    PERCEIVER_LAYERS,
    SEED,
    SHORTEST,
    TEXT_LAYERS,
    VISION_LAYERS,
    WIDTH,
)

NUM_SCENES = 300
"""Scenes of each task whose words are counted."""

MIN_COUNT, MIN_SHOWN_COUNT = 10, 60
"""Occurrences that make a word an entry of the vocabulary: of others, and of words in pictures."""


def start(folder: Path, *, width: int = WIDTH) -> Path:
    """Writes the untrained checkpoint and returns its folder; one that is there stays.

    `width`: of the vision tower and the decoder.
    """
    if not (folder / "config.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # a kill may have left a part
        folder.mkdir(parents=True)
        tokenizer = build_tokenizer(_known_words())
        model = Idefics2(_config(tokenizer.get_vocab_size(), width))
        _draw_parameters(model)
        for name, content in _processor_files().items():
            (folder / name).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        tokenizer.save(str(folder / "tokenizer.json"))
        save_model(model, folder)
    return folder


def _known_words() -> list[str]:
    """Entries of the vocabulary: frequent words of the train parts' questions and answers.

    Words that pictures show are spelled unless questions use them often: the test parts show other
    words, which the model must spell too.
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
        form = task_of(task).form
        for number in range(NUM_SCENES):
            for sample in samples(task, "train", number):
                request = prompts.request(sample, form=form, style=STYLE, max_new_tokens=None)
                yield f"User:{divided(request)[1]} Assistant: {prompts.gold(sample, form)}"
    for ordinal in lines.ORDINALS:
        yield from [f"User: what is the {ordinal} line written here? Assistant:"] * MIN_COUNT


def _config(vocab_size: int, width: int) -> Idefics2Config:
    ids = {name: index for index, name in enumerate(SPECIAL)}
    return Idefics2Config(
        vision=VisionConfig(
            width=width,
            mlp_width=4 * width,
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
            width=width,
            mlp_width=3 * width,
            num_layers=TEXT_LAYERS,
            num_heads=HEADS,
            num_kv_heads=2,
            head_width=width // HEADS,
            sliding_window=None,
            max_positions=4096,
            bos_id=ids["<s>"],
            eos_ids=(ids["</s>"],),
            pad_id=ids["<unk>"],
        ),
        image_id=ids["<image>"],
    )


def _processor_files() -> Mapping[str, Any]:
    """Contents by file name, as transformers writes them: it loads the checkpoint too."""
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
def _draw_parameters(model: Idefics2) -> None:
    """Draws random parameters with larger deviations than `initialize`, for so narrow a model.

    Each parameter has a random generator of its own, so that one module's size changes no other's
    values. The resampler's output is scaled to the token embeddings, among which it stands.
    """
    initialize(model, SEED)
    width = model.config.text.width
    depth = {"vision_model": VISION_LAYERS, "text_model": TEXT_LAYERS}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            std = 0.7 / math.sqrt(module.in_features)
            if re.search(r"\.(out_proj|fc2|o_proj|down_proj)$", name):
                std /= math.sqrt(2 * depth.get(name.partition(".")[0], PERCEIVER_LAYERS))
            _draw(module.weight, name, std)
    _draw(model.lm_head.weight, "lm_head", 0.02)
    _draw(model.text_model.embed_tokens.weight, "embed_tokens", width**-0.5)
    resampler = model.connector.perceiver_resampler
    _draw(resampler.latents, "latents", width**-0.5)
    resampler.norm.weight.fill_(width**-0.5)
    model.vision_model.position_embedding.weight.copy_(0.3 * _waves(LONGEST // PATCH, width))


def _draw(parameter: Tensor, name: str, std: float) -> None:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{SEED}/{name}".encode()))
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def _waves(side: int, width: int) -> Tensor:
    """Sines and cosines of row and column, [side * side, width]."""
    frequencies = 100 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)
