"""A tiny Idefics2 checkpoint that both local backends load, and requests to it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlmbench.schema import Message, Picture, Request

SPECIAL = ["<unk>", "<s>", "</s>", "<fake_token_around_image>", "<image>", "<end_of_utterance>"]
BOS_ID, EOS_ID, FAKE_ID, IMAGE_ID, END_ID = range(257, 262)

CONFIG: dict[str, Any] = {
    "model_type": "idefics2",
    "image_token_id": IMAGE_ID,
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 56,
        "patch_size": 4,
    },
    "perceiver_config": {
        "hidden_size": 48,
        "rms_norm_eps": 1e-5,
        "resampler_n_latents": 3,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 8,
        "num_key_value_heads": 2,
    },
    "text_config": {
        "model_type": "mistral",
        "vocab_size": 262,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 400,
        "sliding_window": None,
        "pad_token_id": 256,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
    },
}


@dataclass(frozen=True)
class StoredFile(Picture):
    """A picture as bytes that may be none."""

    content: bytes

    def encoded(self) -> bytes:
        return self.content

    def decode(self) -> Image.Image:
        try:
            image = Image.open(io.BytesIO(self.content))
            image.load()
        except OSError as error:
            raise ValueError(f"the picture cannot be decoded: {error}") from error
        return image


@pytest.fixture(scope="session")
def picture() -> Callable[..., StoredFile]:
    """A function: width, height and a seed -> a picture of noise."""

    def make(width: int, height: int, seed: int = 0) -> StoredFile:
        values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG")
        return StoredFile(file.getvalue())

    return make


@pytest.fixture(scope="session")
def broken_picture() -> StoredFile:
    return StoredFile(b"\x89PNG\r\n\x1a\n and no more")


@pytest.fixture(scope="session")
def opened(tiny: Path) -> Callable[..., Any]:
    """A function: "idefics2" or "transformers", and settings -> that backend on the tiny model."""
    from vlmbench.backends.registry import open_backend

    def make(name: str, **settings: Any) -> Any:
        return open_backend(f"{name}:{tiny}", device="cpu", **settings)

    return make


@pytest.fixture(scope="session")
def ask() -> Callable[..., Request]:
    """A function: an id and the pieces of the user's message -> a request."""

    def make(id: str, *content: Any, **fields: Any) -> Request:
        messages = (*fields.pop("turns", ()), Message(role="user", content=content))
        limit = fields.pop("max_new_tokens", 6)
        return Request(id=id, image_group=id, messages=messages, max_new_tokens=limit, **fields)

    return make


@pytest.fixture(scope="session")
def asked(picture: Callable[..., Any], ask: Callable[..., Request]) -> list[Request]:
    """Requests of every form that a task makes."""
    shot = (
        Message(role="user", content=(picture(30, 20, 1), "What is it?")),
        Message(role="assistant", content=("Answer: a dog",)),
    )
    letters = {"answer_prefix": "Answer:", "candidates": ("A", "B", "C", "D")}
    return [
        ask("one", picture(50, 33, 2), "Which is it?"),
        ask("tall", picture(20, 90, 3), " What is written on the sign? Answer briefly."),
        ask("blind", "What colour is the sky?"),
        ask("two", "Is ", picture(40, 40, 4), " above ", picture(70, 24, 5), "? Say yes or no."),
        ask("shot", picture(30, 20, 6), "What is this?", turns=shot),
        ask("prefix", picture(24, 24, 7), "A. red\nB. blue", answer_prefix="Answer:"),
        ask("choice", picture(24, 44, 8), "A. red\nB. blue\nC. green\nD. none", **letters),
        ask("blind choice", "A. up\nB. down\nC. left\nD. right", **letters),
        ask("bare choice", picture(33, 33, 9), "Yes?", candidates=("yes", "no", "no idea")),
        ask("long", picture(50, 33, 10), "Describe it.", max_new_tokens=24),
        ask("last", picture(33, 50, 2), "Which is it, then?"),
    ]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's folder with random weights, all files as transformers writes them."""
    import torch
    from transformers import (
        Idefics2Config,
        Idefics2ForConditionalGeneration,
        Idefics2Processor,
        PreTrainedTokenizerFast,
    )
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    from idefics2.chat import RELEASED_TEMPLATE

    folder = tmp_path_factory.mktemp("tiny")
    model = Idefics2ForConditionalGeneration(Idefics2Config.from_dict(CONFIG))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.copy_(0.2 * noise + float("norm" in name and "weight" in name))
            elif any(table in name for table in ("embed_tokens", "position_embedding", "latents")):
                parameter.copy_(noise * (0.5 if "embed_tokens" in name else 1.0))
            else:
                shows = any(part in name for part in ("v_proj", "o_proj", "down_proj"))
                gain = 2.0 if shows else 1.0  # else pictures would hardly change an answer
                parameter.copy_(noise * gain * parameter[0].numel() ** -0.5)
    model.generation_config.eos_token_id = [EOS_ID, END_ID]
    model.generation_config.bad_words_ids = [[FAKE_ID], [IMAGE_ID]]
    model.save_pretrained(folder)
    half = [0.5] * 3
    images = Idefics2ImageProcessorPil(
        do_image_splitting=False,
        image_mean=half,
        image_std=half,
        size={"longest_edge": 56, "shortest_edge": 16},
    )
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=_byte_tokenizer(),
        **{"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"},
    )
    Idefics2Processor(
        images, tokenizer, image_seq_len=3, chat_template=RELEASED_TEMPLATE
    ).save_pretrained(folder)
    return folder


def _byte_tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: index for index, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS_ID)]
    )
    return tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices: more threads only wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
