"""The gated block against transformers' Idefics, and the architecture that is built of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from idefics2.config import TextConfig
from idefics2.cross_attention import GatedCrossAttention, VisualContext
from idefics2.generate import Sampling, generate, log_likelihoods
from idefics2.layers import KeysValues, MaskedAttention
from idefics2.model import Idefics2
from idefics2.weights import checkpoint_shapes

LAYOUTS = ((3, (20, 36), 5), (2, (12, 8), 6, (16, 56), 4), (7,))
"""A picture, two pictures, words alone."""


def test_the_gated_block_equals_that_of_transformers_idefics() -> None:
    """With as many kv heads as query heads, which is all that Idefics has."""
    from transformers import IdeficsConfig
    from transformers.models.idefics.modeling_idefics import IdeficsGatedCrossAttentionLayer

    torch.manual_seed(0)
    their_config = IdeficsConfig(
        hidden_size=24,
        intermediate_size=40,
        num_attention_heads=3,
        rms_norm_eps=1e-5,
        dropout=0.0,
        vision_config={"embed_dim": 24},
    )
    their_config._attn_implementation = "eager"
    theirs = IdeficsGatedCrossAttentionLayer(their_config, layer_idx=0)
    config = TextConfig(
        width=24, mlp_width=40, num_heads=3, num_kv_heads=3, head_width=8, norm_eps=1e-5
    )
    ours = GatedCrossAttention(config)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(1.0 if "norm" in name or "alpha" in name else 0.0, 0.3)
    weights = {k: v for k, v in theirs.state_dict().items() if "rotary" not in k}
    ours.load_state_dict(weights)

    x_BTD, latents_IRD = torch.randn(2, 7, 24), torch.randn(3, 4, 24)
    image_BT = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [0, 3, 3, 3, 3, 3, 3]])  # last seen, from 1
    mask_BTL = image_BT[..., None] == torch.arange(1, 4).repeat_interleave(4)
    context = VisualContext((ours.keys_values(latents_IRD),), mask_BTL)
    additive = torch.zeros(2, 1, 7, 12).masked_fill(~mask_BTL[:, None], torch.finfo().min)
    with torch.inference_mode():
        expected = theirs(
            x_BTD,
            image_hidden_states=latents_IRD.flatten(0, 1).expand(2, -1, -1),
            image_attention_mask=additive,
            cross_attention_gate=(image_BT > 0).float(),
        )
        got = ours(x_BTD, context, 0)
    assert (got - expected).abs().max() / expected.abs().max() < 1e-6


@pytest.fixture(scope="module")
def model(small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]) -> Idefics2:
    return random_model(small(architecture="cross_attention", cross_layer_interval=2))


@pytest.fixture(scope="module")
def cases(model: Idefics2, make_case: Callable[..., Any]) -> list[Any]:
    return [make_case(model.config, parts, seed) for seed, parts in enumerate(LAYOUTS)]


def test_a_block_stands_before_every_so_many_layers(model: Idefics2) -> None:
    """Three layers, an interval of two: before the first and the third."""
    names = [name for name in checkpoint_shapes(model) if "alpha_dense" in name]
    assert names == [f"model.text_model.cross_layers.{index}.alpha_dense" for index in (0, 1)]


def test_a_token_attends_to_the_last_image_of_its_own_sequence_and_not_to_later_ones() -> None:
    images_BS = torch.tensor([[0, 1, 0, 2, 0, 0, 3, 0]])
    segments_BS = torch.tensor([[1, 1, 1, 1, 1, 2, 2, 2]])
    same_BTS = (segments_BS[..., None] == segments_BS[:, None]).tril()
    no_values = torch.zeros(1, 1, 3 * 2, 4)
    context = VisualContext.of((KeysValues(no_values, no_values),), images_BS, same_BTS, 2)
    attended = [row.nonzero().flatten().tolist() for row in context.mask_BTL[0]]
    assert attended == [[], [0, 1], [0, 1], [2, 3], [2, 3], [], [4, 5], [4, 5]]


def test_with_closed_gates_it_is_the_decoder_without_images(
    model: Idefics2,
    cases: list[Any],
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    our_logits: Callable[..., list[Tensor]],
) -> None:
    closed = random_model(small(architecture="cross_attention", cross_layer_interval=2))
    with torch.no_grad():
        for name, parameter in closed.named_parameters():
            if "alpha" in name:
                parameter.zero_()
    plain = random_model(small())
    plain.load_state_dict(closed.state_dict(), strict=False)
    for case, logits_TV in zip(cases, our_logits(closed, cases), strict=True):
        x_BTD = plain.text_model.embed_tokens(torch.tensor([case.prompt.ids]))
        positions_BT = torch.arange(len(case.prompt.ids))[None]
        with torch.inference_mode():
            y_BTD = plain.text_model(x_BTD, positions_BT, MaskedAttention())
            expected_TV = plain.lm_head(y_BTD)[0]
        torch.testing.assert_close(logits_TV, expected_TV, rtol=1e-5, atol=1e-5)
    opened = our_logits(model, cases)[0]
    assert (opened - our_logits(closed, cases)[0]).abs().max() > 0.1


def test_an_image_changes_nothing_before_it_and_all_after_it(
    model: Idefics2, cases: list[Any], our_logits: Callable[..., list[Tensor]]
) -> None:
    case = cases[1]
    pixels_PK = case.prompt.patches_PK.clone()
    num_first = int(case.prompt.grid_I2[0].prod())
    pixels_PK[num_first:] = 255 - pixels_PK[num_first:]
    changed = case._replace(prompt=replace(case.prompt, patches_PK=pixels_PK))
    difference_T = (our_logits(model, [case])[0] - our_logits(model, [changed])[0]).abs().amax(-1)
    slot = max(i for i, id in enumerate(case.prompt.ids) if id == model.config.image_id)
    assert difference_T[:slot].max() == 0
    assert difference_T[slot:].min() > 1e-3


def test_batches_padded_on_either_side_give_the_logits_of_each_alone(
    model: Idefics2, cases: list[Any], our_logits: Callable[..., list[Tensor]]
) -> None:
    for side in ("left", "right"):
        for case, logits_TV in zip(cases, our_logits(model, cases, side), strict=True):
            alone_TV = our_logits(model, [case])[0]
            torch.testing.assert_close(logits_TV, alone_TV, rtol=1e-5, atol=1e-5)


def test_answers_are_those_of_each_prompt_alone_and_without_a_cache(
    model: Idefics2, cases: list[Any]
) -> None:
    prompts = [case.prompt for case in cases]
    settings = Sampling(max_new_tokens=8, bad_ids=((model.config.image_id,),))
    together = [answer.ids for answer in generate(model, prompts, settings)]
    for prompt, answer in zip(prompts, together, strict=True):
        assert generate(model, [prompt], settings)[0].ids == answer
        ids = list(prompt.ids)
        with torch.inference_mode():
            crops = prompt.grid_I2
            visual = model.encode_images(prompt.patches_PK, crops) if len(crops) else None
            for _ in answer:
                logits_V = model(torch.tensor([ids]), visual=visual)[0, -1]
                logits_V[model.config.image_id] = -torch.inf
                ids.append(int(logits_V.argmax()))
        assert tuple(ids[len(prompt.ids) :]) == answer


def test_likelihoods_of_several_continuations_are_those_of_each_alone(
    model: Idefics2, cases: list[Any]
) -> None:
    continuations = [(9,), (30, 31, 32), (9, 77)]
    together = log_likelihoods(model, cases[1].prompt, continuations)
    alone = [log_likelihoods(model, cases[1].prompt, [ids])[0] for ids in continuations]
    assert together == pytest.approx(alone, abs=1e-4)


def test_a_prompt_takes_one_slot_for_each_crop(model: Idefics2, cases: list[Any]) -> None:
    prompt = cases[0].prompt
    assert prompt.ids.count(model.config.image_id) == 1
    twice = replace(prompt, ids=(*prompt.ids, model.config.image_id))
    with pytest.raises(ValueError, match="has 2 <image> ids, but its 1 crops take 1"):
        generate(model, [twice], Sampling(max_new_tokens=1))
