"""Every architecture, connector and number of latents: the ids of `generate`, at any budget."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from idefics2.engine import Engine, LazyImage, Request, images_of
from idefics2.engine.crop_cache import CropCache
from idefics2.generate import generate
from idefics2.images import PackedImages
from idefics2.model import Idefics2
from idefics2.prompt import Prompt, Slots
from idefics2.sampling import Sampling

CROSS: dict[str, Any] = {"architecture": "cross_attention", "cross_layer_interval": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "cross-attention": CROSS,
    "cross-attention, a window": CROSS | {"text": {"sliding_window": 9}},
    "cross-attention, every layer, 7 latents": CROSS
    | {"cross_layer_interval": 1, "perceiver": {"resampler_n_latents": 7}},
    "linear": {"connector": "linear"},
    "mlp": {"connector": "mlp"},
    "1 latent": {"perceiver": {"resampler_n_latents": 1}},
    "16 latents": {"perceiver": {"resampler_n_latents": 16}},
}
BUDGETS: dict[str, dict[str, Any]] = {
    "roomy": {},
    "deterministic": {"deterministic": True},
    "few": {"cache_tokens": 1024, "running": 3, "prefill_tokens": 40, "patches": 60},
    "nothing is kept": {"visual_tokens": 1, "running": 5, "prefill_tokens": 90},
    "one request": {"cache_tokens": 1024, "running": 1, "prefill_tokens": 1, "patches": 1},
}
"""The longest prompt has some hundreds of tokens, where patches are not pooled."""


@pytest.fixture(scope="module")
def model_of(
    small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> Callable[[str], Idefics2]:
    """A function: the name of an architecture -> its model."""

    def build(name: str) -> Idefics2:
        return random_model(small(model_type="idefics2_variant", **ARCHITECTURES[name]))

    return build


@pytest.mark.parametrize("number", [10, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answers_are_those_of_generate_at_every_budget_and_in_any_order(
    name: str,
    number: int,
    model_of: Callable[[str], Idefics2],
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
) -> None:
    model = model_of(name)
    workload = make_workload(model, number, 30)
    num_crops = len({image.digest for request in workload.requests for image in request.images})
    for seed, (budget, changes) in enumerate(BUDGETS.items()):
        engine = make_engine(model, **changes)
        shuffled = random.Random(seed).sample(workload.requests, number)
        workload.check(engine.run(shuffled))
        assert engine.stats.num_requests == number
        if budget != "nothing is kept":
            assert engine.stats.num_crops_encoded == num_crops
        if budget == "roomy":
            assert engine.stats.num_prefill_tokens < engine.stats.num_prompt_tokens


@pytest.mark.parametrize("deterministic", [False, True])
def test_every_crop_of_a_split_picture_is_seen_by_the_tokens_behind_it(
    deterministic: bool,
    model_of: Callable[[str], Idefics2],
    make_case: Callable[..., Any],
    make_engine: Callable[..., Engine],
) -> None:
    """One image of the engine has several crops here; questions about it end in each of them."""
    model = model_of("cross-attention")
    layout = [2, (16, 20), 1, (12, 8), 1, (20, 36), 3, (8, 8), 2]
    whole: Prompt = make_case(model.config, layout).prompt
    one, *others = images_of(whole, model.config)
    split = together("split", [one, *others[:2]])
    sampling = Sampling(max_new_tokens=6)
    requests, prompts = [], []
    for number, word in enumerate((11, 12, 13, 14)):
        ids = (*whole.ids, word)
        images = (split, others[2])
        requests.append(Request(id=str(number), ids=ids, images=images, sampling=sampling))
        prompts.append(replace(whole, ids=ids))
    found = make_engine(model, deterministic=deterministic).run(requests)
    given = {result.id: result.ids for result in found}
    for request, prompt in zip(requests, prompts, strict=True):
        [expected] = generate(model, [prompt], sampling)
        assert given[request.id] == expected.ids


def together(digest: str, crops: Sequence[LazyImage]) -> LazyImage:
    """One image of several crops."""

    def load() -> PackedImages:
        packed = [crop.load() for crop in crops]
        return PackedImages(
            torch.cat([one.patches_PK for one in packed]),
            torch.cat([one.grid_I2 for one in packed]),
        )

    return LazyImage(digest=digest, slots=Slots((1,) * len(crops)), load=load)


def test_answers_by_cross_attention_do_not_depend_on_company(
    model_of: Callable[[str], Idefics2],
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
) -> None:
    """With `deterministic`, not even in the last bit of a logarithm."""
    model = model_of("cross-attention")
    workload = make_workload(model, 16, 31)
    together = {r.id: r for r in make_engine(model, deterministic=True).run(workload.requests)}
    for request in workload.requests:
        few = {"cache_tokens": 256, "running": 3, "visual_tokens": 3}
        [alone] = make_engine(model, deterministic=True, **few).run([request])
        result = together[request.id]
        assert (result.ids, result.logprobs) == (alone.ids, alone.logprobs)
        assert result.log_likelihoods == alone.log_likelihoods


def test_questions_about_a_picture_share_its_keys_and_values(
    model_of: Callable[[str], Idefics2],
    make_case: Callable[..., Any],
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are computed once and stand in one entry, though all five are decoded side by side."""
    model = model_of("cross-attention")
    prompt: Prompt = make_case(model.config, [3, (20, 36), 5]).prompt
    images = images_of(prompt, model.config)
    requests = [
        Request(
            id=str(number),
            ids=(*prompt.ids, 20 + number),
            images=images,
            sampling=Sampling(max_new_tokens=5),
        )
        for number in range(5)
    ]
    read: list[int] = []
    seen: set[int] = set()
    read_images, attention = model.text_model.read_images, CropCache.attention

    def counted(latents: torch.Tensor) -> Any:
        read.append(len(latents))
        return read_images(latents)

    def noted(self: CropCache, slot_B: torch.Tensor) -> Any:
        seen.update(self.entry_U[slot_B].tolist())
        return attention(self, slot_B)

    monkeypatch.setattr(model.text_model, "read_images", counted)
    monkeypatch.setattr(CropCache, "attention", noted)
    engine = make_engine(model)
    assert len(list(engine.run(requests))) == 5
    assert read == [1]
    assert len(seen) == 1
    assert engine.stats.num_prefill_tokens == len(prompt.ids) + 5


def test_an_entry_is_free_once_no_slot_sees_it(model_of: Callable[[str], Idefics2]) -> None:
    from idefics2.engine.crop_cache import split_crops

    model = model_of("cross-attention")
    latents = torch.randn(6, model.config.perceiver.num_latents, model.config.text.width)
    with torch.inference_mode():
        crops = split_crops(model.text_model.read_images(latents), latents.shape[1])
        cache = CropCache(model.config, 2, dtype=torch.float32, device=torch.device("cpu"))
        for number, crop in enumerate(crops):
            cache.keep(number % 2, crop)
            entry = int(cache.entry_U[number % 2])
            for kept, own in zip(cache.blocks, crop.blocks, strict=True):
                assert torch.equal(kept.k_BGSE[entry], own.k_BGSE[0])
                assert torch.equal(kept.v_BGSE[entry], own.v_BGSE[0])
        cache.move(0, 1)
        assert cache.entry_U[0] == cache.entry_U[1] < 2
        cache.keep(1, None)
        query = torch.randn(2, model.config.text.num_heads, 1, model.config.text.head_width)
        seen, unseen = cache.attention(torch.tensor([0, 1])).attend(0, query)
        assert seen.abs().min() > 0
        assert not unseen.any()
