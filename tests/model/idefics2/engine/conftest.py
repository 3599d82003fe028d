"""Workloads for the engine, and what the plain `generate` makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from idefics2.engine import Engine, Limits, Request, Result, images_of
from idefics2.generate import generate, log_likelihoods
from idefics2.model import Idefics2
from idefics2.prompt import Prompt
from idefics2.sampling import Sampling

BOS, FAKE = 1, 6
WORDS = range(7, 120)
SIZES = ((20, 36), (16, 16), (40, 8), (12, 28), (8, 8))  # pixels; a patch is 4 x 4


def decode(ids: Sequence[int]) -> str:
    return "".join(f"<{id}>" for id in ids)


@dataclass
class Workload:
    """Requests, and the prompts that `generate` is to be given for them."""

    model: Idefics2
    requests: list[Request] = field(default_factory=list)
    prompts: dict[str, Prompt] = field(default_factory=dict)

    def add(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        continuations: Sequence[tuple[int, ...]] = (),
    ) -> None:
        request = Request(
            id=f"{len(self.requests):03d}",
            ids=prompt.ids,
            images=images_of(prompt, self.model.config),
            sampling=sampling,
            continuations=tuple(continuations),
        )
        self.requests.append(request)
        self.prompts[request.id] = prompt

    def check(self, results: Iterable[Result]) -> None:
        """The same ids, texts and ends as by `generate`; logarithms within 1e-4."""
        found = {result.id: result for result in results}
        assert sorted(found) == [request.id for request in self.requests]
        for request in self.requests:
            result, prompt = found[request.id], self.prompts[request.id]
            if request.sampling is None:
                expected = log_likelihoods(self.model, prompt, request.continuations)
                assert result.log_likelihoods == pytest.approx(expected, abs=1e-4)
                best = max(range(len(expected)), key=expected.__getitem__)
                assert max(range(len(expected)), key=result.log_likelihoods.__getitem__) == best
                assert result.finish_reason == "scored"
                continue
            [answer] = generate(self.model, [prompt], request.sampling, decode)
            assert result.ids == answer.ids, request
            assert (result.text, result.finish_reason) == (answer.text, answer.finish_reason)
            assert result.logprobs == pytest.approx(answer.logprobs, abs=1e-4)


def random_prompt(dice: random.Random, pictures: Sequence[Prompt]) -> Prompt:
    """Some pictures, or five crops of one, and a few words, of which others begin alike."""
    chosen = dice.choices(pictures, k=dice.choice((0, 1, 1, 1, 2)))
    if dice.random() < 0.2:
        chosen = [*pictures[:4], pictures[4]]
    ids = [BOS, 7]
    for picture in chosen:
        ids += [FAKE, *picture.ids[1:], FAKE]
    ids += dice.choice(((20, 21, 22), (20, 21, 30), (40,), ()))
    ids += [*dice.choices(WORDS, k=dice.randint(0, 3)), 9]
    return Prompt(
        tuple(ids),
        torch.cat([torch.zeros((0, 48)).byte(), *(picture.patches_PK for picture in chosen)]),
        torch.cat([torch.zeros((0, 2)).long(), *(picture.grid_I2 for picture in chosen)]),
    )


def random_sampling(dice: random.Random) -> Sampling:
    return Sampling(
        max_new_tokens=dice.choice((1, 2, 5, 20)),
        temperature=dice.choice((0.0, 0.0, 1.0)),
        top_p=dice.choice((1.0, 0.8)),
        stop_ids=tuple(dice.sample(WORDS, k=dice.choice((0, 10)))),
        stop_strings=dice.choice(((), ("<1",), ("><9", "2>"))),
        bad_ids=dice.choice(((), ((5,), (6,)), ((9, 20), (77,)))),
        seed=dice.randint(0, 9),
    )


@pytest.fixture(scope="session")
def small_model(
    small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> Idefics2:
    return random_model(small())


@pytest.fixture(scope="session")
def make_workload(make_case: Callable[..., Any]) -> Callable[..., Workload]:
    """A function: a model, a number of requests, a seed -> a mixed workload."""

    def make(model: Idefics2, number: int, seed: int) -> Workload:
        dice = random.Random(seed)
        pictures = [
            make_case(model.config, [size], seed * 100 + index).prompt
            for index, size in enumerate(SIZES)
        ]
        workload = Workload(model)
        for _ in range(number):
            prompt = random_prompt(dice, pictures)
            if dice.random() < 0.25:
                lengths = dice.choices((1, 1, 2, 4), k=dice.choice((1, 4)))
                continuations = [tuple(dice.choices(WORDS, k=length)) for length in lengths]
                workload.add(prompt, continuations=continuations)
            else:
                workload.add(prompt, random_sampling(dice))
        return workload

    return make


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., Engine]:
    """A function: a model and what differs from roomy limits -> an engine that can decode."""

    def make(model: Idefics2, **changes: Any) -> Engine:
        roomy = {
            **{"cache_tokens": 8192, "running": 8, "prefill_tokens": 512, "patches": 400},
            **{"waiting_patches": 1000, "visual_tokens": 1000},
        }
        named = {name: changes.pop(name) for name in roomy if name in changes}
        return Engine(model, Limits(**(roomy | named)), decode=decode, num_threads=2, **changes)

    return make
