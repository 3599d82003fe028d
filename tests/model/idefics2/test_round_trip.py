"""A checkpoint's way to transformers and back: the same weights and ids at every station."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from idefics2.generate import Sampling, generate
from idefics2.model import Idefics2
from idefics2.weights import load_model, save_model

NUM_NEW = 12
IMAGE_ID = 5  # barred, as the released generation_config.json bars <image>


def test_ids_are_the_same_in_ours_in_theirs_and_in_ours_again(
    tmp_path: Path,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_case: Callable[..., Any],
    their_inputs: Callable[..., Any],
) -> None:
    from transformers import Idefics2ForConditionalGeneration

    first = random_model(small(), seed=3)
    save_model(first, tmp_path / "ours")
    theirs: Any = Idefics2ForConditionalGeneration.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_model(tmp_path / "theirs")
    for (name, saved), (_, got) in zip(
        first.named_parameters(), again.named_parameters(), strict=True
    ):
        assert torch.equal(saved, got), name
    case = make_case(first.config, (3, (20, 36), 4), seed=1)
    inputs = their_inputs([case])
    asked = {"max_new_tokens": NUM_NEW, "do_sample": False, "bad_words_ids": [[IMAGE_ID]]}
    rows = theirs.generate(**inputs, **asked, eos_token_id=-1, pad_token_id=0)
    expected = rows[0, inputs["input_ids"].shape[1] :].tolist()
    sampling = Sampling(max_new_tokens=NUM_NEW, stop_ids=(), bad_ids=((IMAGE_ID,),))
    for model in (first, again):
        (answer,) = generate(model, [case.prompt], sampling)
        assert list(answer.ids) == expected
    assert len(set(expected)) > 1, "one word over and over shows nothing"
