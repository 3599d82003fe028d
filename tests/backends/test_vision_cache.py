"""Each picture through the tower once: the ids of plain generation, for models of many kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vlmbench.backends.decoding import Keep
from vlmbench.backends.vision_cache import VisionCache, keys_of
from vlmbench.schema import Request

IMAGE_ID, PAD_ID, VOCAB_SIZE = 258, 256, 320
TEXT: dict[str, Any] = {
    **{"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12},
    **{"max_position_embeddings": 400, "vocab_size": VOCAB_SIZE},
    **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": PAD_ID},
}
VISION: dict[str, Any] = {
    **{"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3},
    "num_attention_heads": 4,
}


def scrambled(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.copy_(0.2 * noise + float("norm" in name and "weight" in name))
            else:
                scale = 0.5 if "embed" in name else 1.5 * parameter[0].numel() ** -0.5
                parameter.copy_(noise * scale)
    return model.eval()


def pixels(*names: int, side: int) -> list[Tensor]:
    return [
        torch.randn(3, side, side, generator=torch.Generator().manual_seed(name)) for name in names
    ]


def llava() -> tuple[Any, int, Callable[..., dict[str, Tensor]]]:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, image_size=24, patch_size=8),
        text_config=LlamaConfig(**TEXT),
        image_token_index=IMAGE_ID,
        image_seq_length=9,
    )
    return LlavaForConditionalGeneration(config), 9, stacked(24)


def gemma3() -> tuple[Any, int, Callable[..., dict[str, Tensor]]]:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(
        text_config=TEXT,
        vision_config={**VISION, "image_size": 32, "patch_size": 8, "vision_use_head": False},
        mm_tokens_per_image=4,
        image_token_index=IMAGE_ID,
    )
    return Gemma3ForConditionalGeneration(config), 4, stacked(32)


def internvl() -> tuple[Any, int, Callable[..., dict[str, Tensor]]]:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(
        vision_config={**VISION, "image_size": [16, 16], "patch_size": [4, 4]},
        text_config={**TEXT, "model_type": "llama"},
        image_token_id=IMAGE_ID,
    )
    return InternVLForConditionalGeneration(config), 4, stacked(16)


def idefics3() -> tuple[Any, int, Callable[..., dict[str, Tensor]]]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    config = Idefics3Config(
        vision_config={**VISION, "image_size": 32, "patch_size": 4},
        text_config={**TEXT, "model_type": "llama"},
        image_token_id=IMAGE_ID,
        scale_factor=2,
    )
    return Idefics3ForConditionalGeneration(config), 16, padded(32)


def smolvlm() -> tuple[Any, int, Callable[..., dict[str, Tensor]]]:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    config = SmolVLMConfig(
        vision_config={**VISION, "image_size": 32, "patch_size": 4},
        text_config={**TEXT, "model_type": "llama"},
        image_token_id=IMAGE_ID,
        scale_factor=2,
    )
    return SmolVLMForConditionalGeneration(config), 16, padded(32)


def qwen2_5_vl() -> tuple[Any, int, Callable[..., dict[str, Tensor]]]:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 1e4}
    vision = {
        **{"depth": 2, "hidden_size": 32, "intermediate_size": 40, "num_heads": 4},
        **{"out_hidden_size": 48, "patch_size": 4, "spatial_merge_size": 2},
        **{"temporal_patch_size": 2, "window_size": 16, "fullatt_block_indexes": [1]},
    }
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config={**TEXT, "rope_parameters": rope},
        image_token_id=IMAGE_ID,
        vision_start_token_id=259,
    )

    def inputs(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        found = [x.flatten()[: 16 * 96].view(16, 96) for row in rows for x in pixels(*row, side=24)]
        grid = torch.tensor([[1, 4, 4]] * len(found))
        return {"pixel_values": torch.cat(found), "image_grid_thw": grid}

    return Qwen2_5_VLForConditionalGeneration(config), 4, inputs


def stacked(side: int) -> Callable[..., dict[str, Tensor]]:
    """All pictures of a batch, one after the other."""
    return lambda rows: {
        "pixel_values": torch.stack([x for row in rows for x in pixels(*row, side=side)])
    }


def padded(side: int) -> Callable[..., dict[str, Tensor]]:
    """A rectangle of prompts and pictures."""

    def inputs(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        values = torch.zeros(len(rows), max(map(len, rows)), 3, side, side)
        mask = torch.zeros(*values.shape[:2], side, side, dtype=torch.bool)
        for place, row in enumerate(rows):
            for column, picture in enumerate(pixels(*row, side=side)):
                values[place, column], mask[place, column] = picture, True
        return {"pixel_values": values, "pixel_attention_mask": mask}

    return inputs


MODELS = {made.__name__: made for made in (llava, gemma3, internvl, idefics3, smolvlm, qwen2_5_vl)}


def batch(
    rows: Sequence[Sequence[int]],
    tokens_each: int,
    vision: Callable[..., dict[str, Tensor]],
    word: int,
) -> dict[str, Tensor]:
    """Prompts of pictures and three words each, padded on the left."""
    texts = [
        [259, *([IMAGE_ID] * tokens_each + [260]) * len(row), word, 30 + place, 40]
        for place, row in enumerate(rows)
    ]
    longest = max(map(len, texts))
    ids = torch.tensor([[PAD_ID] * (longest - len(text)) + text for text in texts])
    types = (ids == IMAGE_ID).int()
    mask = (ids != PAD_ID).long()
    return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types, **vision(rows)}


def run(model: Any, inputs: dict[str, Tensor], num_new: int = 6, **options: Any) -> Any:
    if model.config.model_type != "qwen2_5_vl":
        inputs = {name: x for name, x in inputs.items() if name != "mm_token_type_ids"}
    with torch.inference_mode():
        return model.generate(
            **inputs, do_sample=False, max_new_tokens=num_new, pad_token_id=PAD_ID, **options
        ).tolist()


def first_logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    keep = Keep()
    run(model, inputs, 1, logits_processor=[keep])
    return keep.scores


@pytest.mark.parametrize("kind", MODELS)
def test_a_picture_is_encoded_once_and_the_ids_are_those_of_plain_generation(kind: str) -> None:
    torch.manual_seed(0)
    model, tokens_each, vision = MODELS[kind]()
    model = scrambled(model)
    first, second = [(1,), (1,), (2,), (1, 2)], [(2,), (3, 1), (1,)]
    batches = [batch(rows, tokens_each, vision, word) for rows, word in ((first, 20), (second, 21))]
    expected = [run(model, inputs) for inputs in batches]
    others = batch([(4,), (4,), (5,), (4, 5)], tokens_each, vision, 20)
    difference = first_logits(model, others) - first_logits(model, batches[0])
    assert difference.abs().amax(1).min() > 1e-3, "pictures sway the answer"

    cache = VisionCache(model, max_bytes=2**20)
    keys = [keys_of(inputs) for inputs in batches]
    assert keys[0] is not None and len(keys[0]) == 5 and len(set(keys[0])) == 2
    cache.verify(keys[0], lambda: first_logits(model, batches[0]))
    assert (cache.num_asked, cache.num_computed) == (10, 2)
    for inputs, own, ids in zip(batches, keys, expected, strict=True):
        with cache.of(own):
            assert run(model, inputs) == ids
    assert (cache.num_asked, cache.num_computed) == (19, 3), "the third picture is new"
    with cache.of(None):
        assert run(model, batches[0]) == expected[0]
    cache.remove()
    assert run(model, batches[0]) == expected[0]
    assert cache.num_asked == 19


def test_what_has_no_room_is_computed_again() -> None:
    model, tokens_each, vision = llava()
    cache = VisionCache(scrambled(model), max_bytes=2 * 9 * 48 * 4)
    for name, computed in ((1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4)):
        inputs = batch([(name,)], tokens_each, vision, 20)
        with cache.of(keys_of(inputs)):
            run(model, inputs, 1)
        assert cache.num_computed == computed


def test_a_model_whose_features_depend_on_their_neighbours_does_not_pass() -> None:
    model, tokens_each, vision = llava()
    compute = model.model.get_image_features

    def neighbourly(pixel_values: Tensor, **others: Any) -> Any:
        output = compute(pixel_values, **others)
        output.pooler_output = [x * len(pixel_values) for x in output.pooler_output]
        return output

    model.model.get_image_features = neighbourly
    cache = VisionCache(scrambled(model), max_bytes=2**20)
    alone = batch([(1,)], tokens_each, vision, 20)
    keys = keys_of(alone) or []
    cache.verify(keys, lambda: first_logits(model, alone))
    inputs = batch([(1,), (2,)], tokens_each, vision, 20)
    assert cache.is_verified(keys) and not cache.is_verified([*keys, *keys])
    with pytest.raises(ValueError, match="its logits differ by"):
        cache.verify(keys_of(inputs) or [], lambda: first_logits(model, inputs))
    assert not cache.is_verified([*keys, *keys])


def test_a_model_that_wants_more_than_features_does_not_pass() -> None:
    model, tokens_each, vision = llava()
    cache = VisionCache(scrambled(model), max_bytes=2**20)
    inputs = batch([(1,)], tokens_each, vision, 20)
    compute = model.model.forward

    def deep(*args: Any, **kwargs: Any) -> Any:
        kwargs["mm_encoder_outputs"]["image"].last_hidden_state.sum()
        return compute(*args, **kwargs)

    model.model.forward = deep
    with pytest.raises(ValueError, match="NoneType"):
        cache.verify(keys_of(inputs) or [], lambda: first_logits(model, inputs))


def test_answers_of_the_backend_are_the_same_without_the_cache(
    opened: Callable[..., Any], ask: Callable[..., Request], picture: Callable[..., Any]
) -> None:
    requests = [
        ask(f"{seed} {number}", picture(40, 30, seed), f"{number} or {seed}?")
        for seed in range(3)
        for number in range(4)
    ]
    requests.append(ask("choice", picture(40, 30, 1), "Which?", candidates=("A", "B", "C")))
    found = {}
    for gib in (1.0, 0.0):
        backend = opened("transformers", vision_cache_gib=gib, batch_size=4)
        found[gib] = {r.id: (r.text, r.visual_tokens) for r in backend.generate(requests)}
        probe = backend.probe()
        assert probe.settings["vision_cache_gib"] == gib
        assert probe.notices == ()
        if gib:
            assert probe.work["num_crops_encoded"] == 3
            assert probe.work["num_crops_requested"] > 3 * 4
    assert found[1.0] == found[0.0]


def test_a_cache_that_changes_answers_is_left_out_with_a_notice(
    opened: Callable[..., Any], ask: Callable[..., Request], picture: Callable[..., Any]
) -> None:
    backend = opened("transformers")
    compute = backend._vision._compute

    def neighbourly(pixel_values: Tensor, *args: Any, **others: Any) -> Any:
        output = compute(pixel_values, *args, **others)
        output.pooler_output = [x * len(pixel_values) for x in output.pooler_output]
        return output

    backend._vision._compute = neighbourly
    requests = [ask(str(number), picture(40, 30, 0), "Which?") for number in range(2)]
    assert [r.error for r in backend.generate(requests)] == ["", ""]
    [notice] = backend.probe().notices
    assert "this idefics2 model does not bear a cache of them: its logits differ" in notice
    assert backend.probe().settings["vision_cache_gib"] == 0


def test_tower_inputs_of_an_unknown_layout_have_no_keys() -> None:
    assert keys_of({"input_ids": torch.ones(1, 3)}) is None
    assert keys_of({"pixel_values": [torch.ones(3, 4, 4)]}) is None
    grid = torch.tensor([[1, 2, 2]])
    assert keys_of({"pixel_values": torch.ones(5, 8), "image_grid_thw": grid}) is None
