"""Greedy answers against transformers' generate on the same weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch

from idefics2.generate import Sampling, generate
from idefics2.model import Idefics2

NUM_NEW = 12
IMAGE_ID = 5  # barred, as the released generation_config.json bars <image>
STOP_IDS = (2, 17, 31, 44, 58, 71, 99)  # enough for some random answers to end early


class Answered(NamedTuple):
    """Two models on the same weights, random prompts, and transformers' answer to each."""

    ours: Idefics2
    theirs: Any
    cases: list[Any]
    answers: list[list[int]]


@pytest.fixture(
    scope="module",
    params=[pytest.param((None, 50), id="full attention"), pytest.param((9, 16), id="window of 9")],
)
def answered(
    request: pytest.FixtureRequest,
    small: Callable[..., dict[str, Any]],
    pair: Callable[..., Any],
    make_case: Callable[..., Any],
    their_inputs: Callable[..., Any],
) -> Answered:
    window, num_prompts = request.param
    ours, theirs = pair(small(text={"sliding_window": window}))
    shuffle = random.Random(0)
    cases = []
    for seed in range(num_prompts):
        parts: list[Any] = [shuffle.randrange(1, 9) for _ in range(2)]
        for _ in range(shuffle.randrange(4)):
            parts.append((shuffle.randrange(4, 57), shuffle.randrange(4, 57)))
        shuffle.shuffle(parts)
        cases.append(make_case(ours.config, parts, seed))
    answers = [their_answers(theirs, their_inputs([case]))[0] for case in cases]
    return Answered(ours, theirs, cases, answers)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_greedy_ids_equal_those_of_transformers_at_every_batch_size(
    batch_size: int, answered: Answered, their_inputs: Callable[..., Any]
) -> None:
    sampling = Sampling(max_new_tokens=NUM_NEW, stop_ids=STOP_IDS, bad_ids=((IMAGE_ID,),))
    reasons = set()
    for start in range(0, len(answered.cases), batch_size):
        cases = answered.cases[start : start + batch_size]
        expected = answered.answers[start : start + batch_size]
        if batch_size > 1:
            assert their_answers(answered.theirs, their_inputs(cases, "left")) == expected
        got = generate(answered.ours, [case.prompt for case in cases], sampling)
        assert [list(answer.ids) for answer in got] == expected
        reasons |= {(answer.finish_reason, len(answer.ids) < NUM_NEW) for answer in got}
    assert reasons == {("stop", True), ("length", False)}


def test_greedy_ids_are_the_same_without_a_cache(answered: Answered) -> None:
    model = answered.ours
    for case, expected in list(zip(answered.cases, answered.answers, strict=True))[:10]:
        ids = list(case.prompt.ids)
        with torch.inference_mode():
            crops = case.prompt.grid_I2
            visual = model.encode_images(case.prompt.patches_PK, crops) if len(crops) else None
            for _ in expected:
                logits_V = model(torch.tensor([ids]), visual=visual)[0, -1]
                logits_V[IMAGE_ID] = -torch.inf
                ids.append(int(logits_V.argmax()))
        assert ids[len(case.prompt.ids) :] == expected


def test_bad_words_bar_what_transformers_bars(
    answered: Answered, their_inputs: Callable[..., Any]
) -> None:
    cases, answers = answered.cases[:8], answered.answers[:8]
    bad = [answer[:2] for answer in answers if len(answer) > 2]
    bad[0] = bad[0][:1]
    bad.append([cases[3].prompt.ids[-1], answers[3][0]])  # begun by the prompt itself
    bad.append([IMAGE_ID])
    expected = their_answers(answered.theirs, their_inputs(cases, "left"), bad)
    assert expected != answers
    words = tuple(map(tuple, bad))
    sampling = Sampling(max_new_tokens=NUM_NEW, stop_ids=STOP_IDS, bad_ids=words)
    got = generate(answered.ours, [case.prompt for case in cases], sampling)
    assert [list(answer.ids) for answer in got] == expected


def their_answers(
    theirs: Any, inputs: dict[str, torch.Tensor], bad: Sequence[list[int]] = ([IMAGE_ID],)
) -> list[list[int]]:
    """New ids of transformers' greedy generate, up to a stop id."""
    rows = theirs.generate(
        **inputs,
        max_new_tokens=NUM_NEW,
        do_sample=False,
        eos_token_id=list(STOP_IDS),
        pad_token_id=0,
        bad_words_ids=list(bad),
    )
    new = rows[:, inputs["input_ids"].shape[1] :].tolist()
    ends = [next((i for i, id in enumerate(row) if id in STOP_IDS), len(row)) for row in new]
    return [row[:end] for row, end in zip(new, ends, strict=True)]
