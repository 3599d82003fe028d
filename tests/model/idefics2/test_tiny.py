"""The bundled checkpoint: transformers loads it and gives the same answers; its recipe made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import idefics2
from idefics2.generate import Sampling, generate
from vlmbench.backends.checkpoint import folder_of
from vlmbench.data import mini
from vlmbench.data.mini.drawn_rows import drawn_rows
from vlmbench.task import prompts
from vlmbench.task.loading import find

TINY = folder_of("tiny")
MAX_BYTES = 25 * 2**20


@pytest.fixture(scope="module")
def theirs() -> tuple[Any, Any]:
    """Transformers' processor and model."""
    from transformers import AutoProcessor, Idefics2ForConditionalGeneration

    auto: Any = AutoProcessor
    model = Idefics2ForConditionalGeneration.from_pretrained(TINY)
    return auto.from_pretrained(TINY), model


@pytest.mark.parametrize("name", mini.TASKS)
def test_transformers_gives_the_same_ids_and_answers(name: str, theirs: tuple[Any, Any]) -> None:
    processor, their_model = theirs
    model, our_processor = idefics2.load(TINY)
    sampling = Sampling(max_new_tokens=12, stop_ids=our_processor.stop_ids)
    task = find(name)
    for row in drawn_rows(name, "test", 1)[:2]:
        asked = prompts.request(
            task.read(row), form=task.form, style="idefics2", max_new_tokens=None
        )
        content = [p if isinstance(p, str) else p.decode() for p in asked.messages[-1].content]
        prompt = our_processor.chat([idefics2.Message("user", tuple(content))])
        parts = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in content
        ]
        text = processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True
        )
        images = [part for part in content if not isinstance(part, str)]
        inputs = processor(text=text, images=images, return_tensors="pt")
        assert tuple(inputs["input_ids"][0].tolist()) == prompt.ids
        with torch.no_grad():
            found = their_model.generate(**inputs, max_new_tokens=12, do_sample=False)
        generated = tuple(found[0, len(prompt.ids) :].tolist())
        [ours] = generate(model, [prompt], sampling)
        assert generated[: len(ours.ids)] == ours.ids


def test_it_is_small_and_whole() -> None:
    sizes = [path.stat().st_size for path in Path(TINY).iterdir()]
    assert sum(sizes) < MAX_BYTES
    model, processor = idefics2.load(TINY)
    assert processor.images.split
    visual = model.encode_images(
        torch.randint(0, 256, (144, 192), dtype=torch.uint8), torch.tensor([[12, 12]])
    )
    distances = torch.cdist(visual[0], visual[0]) + 9 * torch.eye(len(visual[0]))
    assert distances.min() > 1e-3  # latents that are equal would stay so: one token, many times
