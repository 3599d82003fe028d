"""A model of a few thousand parameters with a tokenizer of characters, and pictures for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from idefics2.chat import RELEASED_TEMPLATE
from idefics2.checkpoint import Checkpoint, load
from idefics2.config import Idefics2Config, PerceiverConfig, TextConfig, VisionConfig
from idefics2.model import Idefics2, initialize
from idefics2.weights import save_model

SPECIAL = ("<unk>", "<s>", "</s>", "<fake_token_around_image>", "<image>", "<end_of_utterance>")
LETTERS = [chr(code) for code in range(32, 127)] + ["\n"]
CONFIG = Idefics2Config(
    vision=VisionConfig(
        width=24, mlp_width=40, num_layers=2, num_heads=3, image_size=32, patch_size=4
    ),
    perceiver=PerceiverConfig(
        num_latents=3, num_layers=1, num_heads=2, num_kv_heads=1, head_width=8, norm_eps=1e-5
    ),
    text=TextConfig(
        vocab_size=len(SPECIAL) + len(LETTERS),
        width=32,
        mlp_width=48,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_width=8,
        norm_eps=1e-5,
        max_positions=512,
        sliding_window=None,
        pad_id=0,
    ),
    image_id=4,
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny matrices: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_start(folder: Path, **changes: Any) -> Path:
    """A checkpoint's folder with random weights and a tokenizer of single characters."""
    from dataclasses import replace

    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "config.json").exists():
        return folder
    model = Idefics2(replace(CONFIG, **changes))
    initialize(model, 0)
    for name, parameter in model.named_parameters():
        if "alpha" in name:
            parameter.data.fill_(0.5)
        elif parameter.ndim == 2:
            parameter.data.mul_(8)
    vocabulary = {name: i for i, name in enumerate((*SPECIAL, *LETTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    contents = {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
        "processor_config.json": {"chat_template": RELEASED_TEMPLATE, "image_seq_len": 3},
        "preprocessor_config.json": {
            "size": {"longest_edge": 32, "shortest_edge": 8},
            "do_image_splitting": False,
        },
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    save_model(model, folder)
    return folder


@pytest.fixture(scope="session")
def start() -> Callable[..., Path]:
    """Fills a folder with the checkpoint that trainings of these tests start from."""
    return write_start


@pytest.fixture(scope="session")
def start_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


@pytest.fixture
def checkpoint(start_folder: Path) -> Checkpoint:
    """A fresh copy of the small model, and its processor."""
    return load(start_folder)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """Random pixels of a size."""

    def draw(width: int = 16, height: int = 12, seed: int = 0) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return draw
