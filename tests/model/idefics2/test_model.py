"""Logits against transformers' Idefics2 on the same weights, and against other ways to run ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from idefics2.cache import Cache
from idefics2.config import Idefics2Config
from idefics2.layers import MaskedAttention
from idefics2.model import Idefics2, initialize, normalize
from idefics2.prompt import Prompt

BATCH = (
    (4, (20, 36), 5),
    ((56, 24), (29, 43), 3),
    (2, (12, 8), 6, (17, 56), 1, (8, 8)),
    (9,),
)
"""Words and pictures of four prompts: pictures first, last and between; sides that are no multiple
of a patch's 4; one prompt without a picture."""


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"text": {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 10}},
            id="three query heads, one kv head, heads narrower than the model",
        ),
        pytest.param({"text": {"sliding_window": 7}}, id="prompts beyond the sliding window"),
        pytest.param({"text": {"rope_theta": 500.0}}, id="another rotation"),
        pytest.param({"vision": {"image_size": 280}}, id="the released 70 x 70 positions"),
        pytest.param(
            {"perceiver": {"resampler_n_latents": 5, "num_key_value_heads": 1}}, id="five latents"
        ),
        pytest.param({"tie_word_embeddings": True}, id="tied embeddings"),
    ],
)
def test_batches_of_mixed_prompts_match_transformers(
    changes: dict[str, Any],
    side: str,
    small: Callable[..., dict[str, Any]],
    pair: Callable[..., Any],
    make_case: Callable[..., Any],
    assert_same_logits: Callable[..., None],
) -> None:
    ours, theirs = pair(small(**changes))
    cases = [make_case(ours.config, parts, seed) for seed, parts in enumerate(BATCH)]
    assert_same_logits(ours, theirs, cases, side)


@pytest.mark.parametrize("rows", [25, 49, 50, 55, 58, 70])
def test_images_on_the_edges_of_position_buckets_match_transformers(
    rows: int,
    small: Callable[..., dict[str, Any]],
    pair: Callable[..., Any],
    make_case: Callable[..., Any],
    assert_same_logits: Callable[..., None],
) -> None:
    ours, theirs = pair(small(vision={"image_size": 280}))
    assert_same_logits(ours, theirs, [make_case(ours.config, (3, (rows * 4, 28 * 4), 2))])


@pytest.mark.parametrize("window", [None, 6])
def test_tokens_in_chunks_through_the_cache_give_the_logits_of_the_whole(
    window: int | None, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    model = random_model(small(text={"sliding_window": window}))
    ids_BT = torch.randint(6, 120, (2, 23), generator=torch.Generator().manual_seed(1))
    cache = new_cache(model, 2, 23)
    with torch.inference_mode():
        chunks = [
            model(chunk_BT, cache=cache) for chunk_BT in torch.split(ids_BT, [9, 1, 1, 4, 8], 1)
        ]
        torch.testing.assert_close(torch.cat(chunks, 1), model(ids_BT), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["autoregressive", "cross_attention"])
@pytest.mark.parametrize("window", [None, 6])
def test_sequences_packed_in_one_row_give_the_logits_of_each_alone(
    architecture: str,
    window: int | None,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_case: Callable[..., Any],
) -> None:
    model = random_model(small(text={"sliding_window": window}, architecture=architecture))
    prompts = [make_case(model.config, parts, seed).prompt for seed, parts in enumerate(BATCH)]
    with torch.inference_mode():
        packed_TV = packed_logits(model, prompts, num_padding=2)
        alone_TV = torch.cat([packed_logits(model, [prompt]) for prompt in prompts])
    torch.testing.assert_close(packed_TV, alone_TV, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["autoregressive", "cross_attention"])
def test_sequences_packed_in_one_row_give_the_gradients_of_each_alone(
    architecture: str,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_case: Callable[..., Any],
) -> None:
    model = random_model(small(architecture=architecture))
    prompts = [make_case(model.config, parts, seed).prompt for seed, parts in enumerate(BATCH)]

    def gradient(rows: list[list[Prompt]]) -> Tensor:
        logits = [packed_logits(model, row, num_padding=2) for row in rows]
        loss = torch.cat(logits).log_softmax(-1)[:, 7].sum()
        parts = torch.autograd.grad(loss, list(model.parameters()))
        return torch.cat([part.flatten() for part in parts])

    separate = gradient([[prompt] for prompt in prompts])
    error = (gradient([prompts]) - separate).abs().max() / separate.abs().max()
    assert error < 1e-5


def test_normalized_pixels_equal_the_released_processors_to_the_last_bit() -> None:
    values = np.arange(256, dtype=np.uint8)
    rescaled = (values.astype(np.float64) * 0.00392156862745098).astype(np.float32)
    expected = (rescaled - np.float32(0.5)) / np.float32(0.5)
    got = normalize(torch.from_numpy(values)[None], torch.float32)
    np.testing.assert_array_equal(got[0].numpy(), expected)


def test_bfloat16_answers_nearly_as_float32(
    small: Callable[..., dict[str, Any]],
    make_case: Callable[..., Any],
    our_logits: Callable[..., list[Tensor]],
    random_model: Callable[..., Idefics2],
) -> None:
    model = random_model(small())
    cases = [make_case(model.config, parts, seed) for seed, parts in enumerate(BATCH)]
    exact = torch.cat(our_logits(model, cases))
    rough = torch.cat(our_logits(model.to(torch.bfloat16), cases)).float()
    # 8 bits of mantissa, a few layers: errors of a per cent or two of the largest logit
    assert (rough - exact).abs().max() / exact.abs().max() < 0.05


def test_an_initialized_models_visual_tokens_of_one_image_differ(
    small: Callable[..., dict[str, Any]], make_case: Callable[..., Any]
) -> None:
    model = Idefics2(Idefics2Config.from_json(small()))
    initialize(model, seed=0)
    prompt = make_case(model.config, ((40, 28),)).prompt
    tokens_RD = model.encode_images(prompt.patches_PK, prompt.grid_I2)[0]
    nearest = torch.pdist(tokens_RD).min() / tokens_RD.norm(dim=-1).mean()
    assert nearest > 0.1


def test_initialization_depends_on_the_seed_alone(small: Callable[..., dict[str, Any]]) -> None:
    config = Idefics2Config.from_json(small(architecture="cross_attention"))
    models = [Idefics2(config) for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        initialize(model, seed)
    flat = [torch.cat([p.flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])
    latents = models[0].connector.perceiver_resampler.latents.detach()
    assert latents.std() == pytest.approx(48**-0.5, rel=0.15)


@pytest.mark.parametrize("connector", ["mlp", "linear"])
def test_connectors_without_pooling_keep_a_visual_token_for_each_patch(
    connector: str,
    small: Callable[..., dict[str, Any]],
    make_case: Callable[..., Any],
    our_logits: Callable[..., list[Tensor]],
    random_model: Callable[..., Idefics2],
) -> None:
    model = random_model(small(connector=connector))
    cases = [make_case(model.config, parts, seed) for seed, parts in enumerate(BATCH)]
    prompt = cases[0].prompt
    assert model.encode_images(prompt.patches_PK, prompt.grid_I2).shape == (5 * 9, 48)
    assert prompt.ids.count(5) == 5 * 9
    together = our_logits(model, cases)
    for case, logits_TV in zip(cases, together, strict=True):
        torch.testing.assert_close(our_logits(model, [case])[0], logits_TV, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("patches_PK", "grid", "message"),
    [
        pytest.param(
            torch.zeros(6, 48).byte(), [[2, 2]], r"\(4, 48\), not .*\(6, 48\)", id="count"
        ),
        pytest.param(torch.zeros(4, 27).byte(), [[2, 2]], r"\(4, 48\), not .*\(4, 27\)", id="size"),
        pytest.param(torch.zeros(4, 48), [[2, 2]], "uint8", id="dtype"),
        pytest.param(torch.zeros(0, 48).byte(), [[0, 2]], "without patches", id="empty crop"),
    ],
)
def test_patches_that_do_not_fit_their_grid_are_refused(
    patches_PK: Tensor,
    grid: list[list[int]],
    message: str,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
) -> None:
    model = random_model(small())
    with pytest.raises(ValueError, match=message):
        model.encode_images(patches_PK, torch.tensor(grid))


def test_image_ids_and_visual_tokens_must_agree_in_number(
    small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    model = random_model(small())
    with pytest.raises(ValueError, match="4 <image> ids, but visual tokens for 3"):
        model(torch.tensor([[1, 5, 5, 5, 5]]), visual=torch.zeros(1, 3, 48))
    with pytest.raises(ValueError, match="1 <image> ids, but visual tokens for 0"):
        model(torch.tensor([[1, 5]]))


def test_a_full_cache_refuses_more_tokens(
    small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    model = random_model(small())
    cache = new_cache(model, 1, 4)
    model(torch.tensor([[1, 6, 7]]), cache=cache)
    with pytest.raises(ValueError, match="2 tokens after 3 do not fit a cache of 4"):
        model(torch.tensor([[8, 9]]), cache=cache)


def packed_logits(model: Idefics2, prompts: list[Prompt], num_padding: int = 0) -> Tensor:
    """Logits [T, V] of the prompts in one row, with padding behind them that is cut off again."""
    ids = [id for prompt in prompts for id in prompt.ids]
    segments = [number for number, prompt in enumerate(prompts, 1) for _ in prompt.ids]
    patches_PK = torch.cat([prompt.patches_PK for prompt in prompts])
    grid_I2 = torch.cat([prompt.grid_I2 for prompt in prompts])
    visual = model.encode_images(patches_PK, grid_I2) if len(grid_I2) else None
    padding = [0] * num_padding
    logits_1TV: Tensor = model(
        torch.tensor([ids + padding]), torch.tensor([segments + padding]), visual
    )
    return logits_1TV[0, : len(ids)]


def new_cache(model: Idefics2, num_rows: int, capacity: int) -> Cache:
    return Cache(model.config.text, num_rows, capacity, dtype=model.dtype, device=model.device)


@pytest.mark.parametrize("wanted", [(), (6,), (0, 3, 3, 5)])
def test_hidden_states_of_wanted_tokens_are_those_of_all(
    random_model: Callable[..., Idefics2],
    small: Callable[..., dict[str, Any]],
    wanted: tuple[int, ...],
) -> None:
    decoder = random_model(small()).text_model
    x_BTD = torch.randn(2, 7, 48, generator=torch.Generator().manual_seed(0))
    positions_BT = torch.arange(7).expand(2, -1)
    wanted_W = torch.tensor(wanted, dtype=torch.int64)
    with torch.no_grad():
        all_BTD = decoder(x_BTD, positions_BT, MaskedAttention())
        found_BWD = decoder(x_BTD, positions_BT, MaskedAttention(), wanted_W=wanted_W)
    torch.testing.assert_close(found_BWD, all_BTD[:, wanted_W])
