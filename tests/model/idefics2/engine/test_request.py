"""Prompts with images that are decoded later are those with images at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from idefics2.chat import RELEASED_TEMPLATE, Message
from idefics2.config import Idefics2Config
from idefics2.engine import Engine, Request, lazy_image
from idefics2.generate import generate
from idefics2.model import Idefics2
from idefics2.processor import Processor
from idefics2.sampling import Sampling

SPECIAL = ("<unk>", "<s>", "</s>", "<fake_token_around_image>", "<end_of_utterance>", "<image>")
WORDS = ("User:", "Assistant:", "What", "Which", "is", "here", "there", "?")


@pytest.fixture(scope="module")
def processor(
    small: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Processor:
    """Words and special tokens; pictures of 8 to 40 pixels a side in patches of 4."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    folder: Path = tmp_path_factory.mktemp("checkpoint")
    tokenizer.save(str(folder / "tokenizer.json"))
    contents = {
        "tokenizer_config": {"bos_token": "<s>", "tokenizer_class": "LlamaTokenizer"},
        "preprocessor_config": {
            "do_image_splitting": True,
            "size": {"longest_edge": 40, "shortest_edge": 8},
        },
        "chat_template": {"chat_template": RELEASED_TEMPLATE},
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return Processor.load(folder, Idefics2Config.from_json(small()))


class File:
    """A picture that counts how often it is decoded."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        self.image = Image.fromarray(pixels)
        self.num_decoded = 0

    def decode(self) -> Image.Image:
        self.num_decoded += 1
        return self.image


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("connector", ["perceiver", "mlp"])
def test_answers_about_lazy_images_are_those_about_images_at_hand(
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    processor: Processor,
    split: bool,
    connector: str,
) -> None:
    kind = "idefics2" if connector == "perceiver" else "idefics2_variant"
    model = random_model(small(connector=connector, model_type=kind))
    processor = replace(
        processor, config=model.config, images=replace(processor.images, split=split)
    )
    files = {"wide": File(60, 30, 0), "high": File(20, 44, 1), "small": File(5, 9, 2)}
    questions = ["What is here ?", "What is there ?", "Which is here ?"]
    sampling = Sampling(max_new_tokens=5, stop_ids=processor.stop_ids, bad_ids=processor.bad_ids)
    requests, prompts = [], {}
    for names in (["wide"], ["high"], ["small", "wide"]):
        for question in questions:
            lazy = tuple(lazy_image(processor, name, files[name].decode) for name in names)
            slots = [image.slots for image in lazy]
            prompt = processor.chat([Message("user", (*slots, question))])
            id = f"{names} {question}"
            requests.append(Request(id=id, ids=prompt.ids, images=lazy, sampling=sampling))
            images = [files[name].image for name in names]
            prompts[id] = processor.chat([Message("user", (*images, question))])
            assert prompt.ids == prompts[id].ids
            assert len(prompt.grid_I2) == 0
    num_decoded = {name: file.num_decoded for name, file in files.items()}
    engine = Engine(model)
    for result in engine.run(requests):
        [answer] = generate(model, [prompts[result.id]], sampling)
        assert result.ids == answer.ids
    assert engine.stats.num_crops_encoded == 3 * (5 if split else 1)
    assert engine.stats.num_crops_requested == 12 * (5 if split else 1)
    for name, file in files.items():
        assert file.num_decoded == num_decoded[name] + 1


def test_a_picture_that_cannot_be_decoded_is_an_error_of_its_requests(
    small_model: Idefics2, processor: Processor
) -> None:
    def decode(path: Path) -> Image.Image:
        raise ValueError(f"{path}: no such file")

    lost = lazy_image(processor, "lost", partial(decode, Path("lost.png")))
    prompt = processor.chat([Message("user", (lost.slots, "What is here ?"))])
    request = Request(
        id="0",
        ids=prompt.ids,
        images=(lost,),
        sampling=Sampling(max_new_tokens=1),
    )
    [result] = Engine(small_model).run([request])
    assert result.error == "ValueError: lost.png: no such file"
