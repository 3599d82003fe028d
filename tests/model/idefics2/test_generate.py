"""Settings of a generation one by one, and likelihoods; parity is in test_generate_parity.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from idefics2.generate import Sampling, generate, log_likelihoods
from idefics2.model import Idefics2
from idefics2.prompt import Prompt

NUM_NEW = 12


@pytest.fixture(scope="module")
def model(small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]) -> Idefics2:
    return random_model(small())


@pytest.fixture(scope="module")
def prompts(model: Idefics2, make_case: Callable[..., Any]) -> list[Prompt]:
    """A prompt with a picture, one of words alone, and one with two pictures."""
    layouts = ((4, (20, 36), 5), (6,), ((16, 16), 2, (40, 8), 3))
    return [make_case(model.config, parts, seed).prompt for seed, parts in enumerate(layouts)]


def test_logprobs_are_those_of_the_model_alone(model: Idefics2, prompts: list[Prompt]) -> None:
    settings = Sampling(max_new_tokens=6, temperature=1.7, top_p=0.6, bad_ids=((7,), (8,)))
    (answer,) = generate(model, prompts[:1], settings)
    assert len(answer.logprobs) == len(answer.ids) == 6
    (total,) = log_likelihoods(model, prompts[0], [answer.ids])
    assert sum(answer.logprobs) == pytest.approx(total, abs=1e-4)


def test_log_likelihoods_are_sums_over_each_continuation(
    model: Idefics2, prompts: list[Prompt]
) -> None:
    prompt, continuations = prompts[0], [(9,), (30, 31, 32), (9, 77), (100, 101, 102, 103, 104)]
    got = log_likelihoods(model, prompt, continuations)
    assert [log_likelihoods(model, prompt, [ids])[0] for ids in continuations] == pytest.approx(
        got, abs=1e-4
    )
    with torch.inference_mode():
        visual = model.encode_images(prompt.patches_PK, prompt.grid_I2)
        for ids, total in zip(continuations, got, strict=True):
            logits_TV = model(torch.tensor([[*prompt.ids, *ids]]), visual=visual)[0]
            logprobs_TV = logits_TV[len(prompt.ids) - 1 : -1].log_softmax(-1)
            expected = sum(float(logprobs_TV[step, id]) for step, id in enumerate(ids))
            assert total == pytest.approx(expected, abs=1e-4)


def test_samples_depend_on_seed_and_prompt_but_not_on_the_batch(
    model: Idefics2, prompts: list[Prompt]
) -> None:
    def sample(chosen: list[Prompt], seed: int) -> list[tuple[int, ...]]:
        settings = Sampling(max_new_tokens=8, temperature=1.0, top_p=0.9, seed=seed)
        return [answer.ids for answer in generate(model, chosen, settings)]

    together = sample(prompts, 3)
    assert together == [sample([prompt], 3)[0] for prompt in prompts]
    assert together == sample(prompts, 3)
    assert together != sample(prompts, 4)


def test_first_tokens_are_drawn_in_proportion_to_tempered_probabilities_in_the_nucleus(
    model: Idefics2, prompts: list[Prompt]
) -> None:
    words, temperature, top_p, num_draws = prompts[1], 1.2, 0.5, 300
    with torch.inference_mode():
        probs = (model(torch.tensor([words.ids]))[0, -1] / temperature).softmax(-1)
    likeliest = probs.sort(descending=True)
    size = 1 + int((likeliest.values.cumsum(0) < top_p).sum())
    assert size > 2
    drawn: Counter[int] = Counter()
    for seed in range(num_draws):
        settings = Sampling(max_new_tokens=1, temperature=temperature, top_p=top_p, seed=seed)
        drawn.update(generate(model, [words], settings)[0].ids)
    nucleus = likeliest.indices[:size].tolist()
    assert set(drawn) <= set(nucleus)
    for id in nucleus:
        share = float(probs[id] / likeliest.values[:size].sum())
        spread = (num_draws * share * (1 - share)) ** 0.5
        assert abs(drawn[id] - num_draws * share) < 4 * spread


def test_a_tiny_nucleus_is_greedy(model: Idefics2, prompts: list[Prompt]) -> None:
    greedy = Sampling(max_new_tokens=NUM_NEW)
    tiny = replace(greedy, temperature=0.7, top_p=1e-6)
    assert [answer.ids for answer in generate(model, prompts, tiny)] == [
        answer.ids for answer in generate(model, prompts, greedy)
    ]


def test_a_stop_string_ends_the_answer_and_is_cut_off_with_what_follows(
    model: Idefics2, prompts: list[Prompt]
) -> None:
    def decode(ids: Sequence[int]) -> str:
        return "".join(f"<{id}>" for id in ids)

    free = Sampling(max_new_tokens=NUM_NEW)
    texts = [decode(answer.ids) for answer in generate(model, prompts, free)]
    ids = generate(model, prompts, free)[0].ids
    stop = f"{ids[3] % 10}><{ids[4]}"  # begins within one token and ends within the next
    first, *others = generate(model, prompts, replace(free, stop_strings=("no", stop)), decode)
    assert first.finish_reason == "stop"
    assert [answer.text for answer in (first, *others)] == [text.split(stop)[0] for text in texts]
    assert len(first.ids) <= 5 < NUM_NEW


def test_text_needs_decode(model: Idefics2, prompts: list[Prompt]) -> None:
    settings = Sampling(max_new_tokens=1)
    assert generate(model, prompts, settings)[0].text is None
    with pytest.raises(ValueError, match="stop_strings need decode"):
        generate(model, prompts, replace(settings, stop_strings=("a",)))


def test_timings_are_of_the_stages_until_the_answers_own_end(
    model: Idefics2, prompts: list[Prompt]
) -> None:
    free = Sampling(max_new_tokens=NUM_NEW)
    first, second = (answer.ids for answer in generate(model, prompts[:2], free))
    stop_id = next(id for id in second[1:] if id not in first)
    answers = generate(model, prompts[:2], replace(free, stop_ids=(stop_id,)))
    slow, quick = (answer.timings for answer in answers)
    assert slow.encode_s > 0
    assert slow.prefill_s > 0
    assert slow.decode_s > quick.decode_s > 0


def test_no_prompts_give_no_answers(model: Idefics2, prompts: list[Prompt]) -> None:
    assert generate(model, [], Sampling(max_new_tokens=1)) == []
    assert log_likelihoods(model, prompts[0], []) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"ids": (1,) * 500}, r"prompt 1 has 500 tokens: with 12 .* context of 511", id="long"
        ),
        pytest.param(
            {"ids": (1, 5, 5, 9)}, "prompt 1 has 2 <image> ids, but its 1 crops take 3", id="slots"
        ),
        pytest.param({"grid_I2": torch.zeros(0, 2).long()}, "its 0 crops take 0", id="no pictures"),
        pytest.param(
            {"ids": (1, 5, 5, 5, 120)}, "has id 120, outside the vocabulary of 120", id="unknown id"
        ),
        pytest.param({"ids": (1, 5, 5, 5, -1)}, "has id -1, outside", id="negative id"),
        pytest.param({"ids": ()}, "prompt 1 is empty", id="empty"),
        pytest.param(
            {"patches_PK": torch.zeros(24, 48).byte()}, r"\(25, 48\), not .*\(24, 48\)", id="pixels"
        ),
    ],
)
def test_prompts_that_cannot_be_answered_are_refused_with_their_numbers(
    changes: dict[str, Any],
    message: str,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_case: Callable[..., Any],
) -> None:
    model = random_model(small(text={"max_position_embeddings": 511}))
    good = make_case(model.config, ((20, 20), 3)).prompt
    with pytest.raises(ValueError, match=message):
        generate(model, [good, replace(good, **changes)], Sampling(max_new_tokens=12))


@pytest.mark.parametrize(
    ("continuations", "message"),
    [
        ([(7,), ()], "continuation 1 is empty"),
        ([(7, 120)], "continuation 0 has id 120, outside the vocabulary of 120"),
        ([(7,) * 510], "the prompt has 7 tokens: with 510 new ones .* context of 512"),
    ],
)
def test_continuations_that_cannot_be_scored_are_refused(
    continuations: list[tuple[int, ...]],
    message: str,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_case: Callable[..., Any],
) -> None:
    model = random_model(small())
    prompt = make_case(model.config, ((20, 20), 3)).prompt
    with pytest.raises(ValueError, match=message):
        log_likelihoods(model, prompt, continuations)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
        ({"temperature": -0.1}, "temperature must be 0 or more"),
        ({"temperature": float("nan")}, "temperature must be 0 or more"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.1}, "top_p must be above 0"),
        ({"stop_strings": ("a", "")}, "a stop string is empty"),
        ({"bad_ids": ((3,), ())}, "a bad word is empty"),
    ],
)
def test_senseless_settings_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**{"max_new_tokens": 1} | setting)
