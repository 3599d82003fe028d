"""Pre-trained backbones, as transformers writes them, into a model to start from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models

from idefics2.checkpoint import load
from idefics2.config import Idefics2Config, PerceiverConfig, TextConfig, VisionConfig
from idefics2.train.backbones import Backbones

CONFIG = Idefics2Config(
    vision=VisionConfig(
        width=24, mlp_width=40, num_layers=2, num_heads=3, image_size=32, patch_size=4
    ),
    perceiver=PerceiverConfig(num_latents=3, num_layers=1, num_heads=2, num_kv_heads=1),
    text=TextConfig(
        vocab_size=23, width=32, mlp_width=48, num_layers=2, num_heads=4, num_kv_heads=2,
        head_width=8, max_positions=64, norm_eps=1e-5, sliding_window=None,
    ),
    image_id=21,
)  # fmt: skip


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    from transformers import MistralConfig, MistralForCausalLM, SiglipConfig, SiglipModel

    folder = tmp_path_factory.mktemp("backbones")
    vision = {
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "image_size": 16, "patch_size": 4,
    }  # fmt: skip
    text = {
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1,
        "num_attention_heads": 3, "vocab_size": 30,
    }  # fmt: skip
    siglip: Any = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
    mistral: Any = MistralForCausalLM(
        MistralConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, vocab_size=20, rms_norm_eps=1e-5,
            sliding_window=None,
        )
    )  # fmt: skip
    siglip.eval(), mistral.eval()
    siglip.save_pretrained(folder / "siglip")
    mistral.save_pretrained(folder / "mistral")
    words = {name: i for i, name in enumerate(["<unk>", "<s>", "</s>", *"abcdefghijklmnopq"])}
    Tokenizer(models.WordLevel(words, "<unk>")).save(str(folder / "mistral" / "tokenizer.json"))
    (folder / "mistral" / "tokenizer_config.json").write_text(json.dumps({}), "utf-8")
    return siglip, mistral, folder


def test_the_model_begins_as_its_backbones(
    backbones: tuple[Any, Any, Path], tmp_path: Path
) -> None:
    siglip, mistral, folder = backbones
    start = Backbones(config=CONFIG, vision=str(folder / "siglip"), text=str(folder / "mistral"))
    loaded, processor = load(start(tmp_path / "start"))
    model: Any = loaded
    ids_BT = torch.tensor([[1, 5, 9, 7]])
    with torch.no_grad():
        ours, theirs = model(ids_BT)[..., :20], mistral(ids_BT).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    mean = mistral.lm_head.weight.mean(0)
    torch.testing.assert_close(model.lm_head.weight[21], mean)
    ours_state = model.vision_model.layers[1].mlp.fc1.weight
    assert torch.equal(ours_state, siglip.vision_model.encoder.layers[1].mlp.fc1.weight)
    table = siglip.vision_model.embeddings.position_embedding.weight
    positions = model.vision_model.position_embedding.weight.unflatten(0, (8, 8))
    assert positions.shape == (8, 8, 24)
    assert positions.mean().item() == pytest.approx(table.mean().item(), abs=0.02)
    assert processor.tokens.special["<image>"] == 21
    assert not torch.equal(
        model.connector.perceiver_resampler.latents[0],
        model.connector.perceiver_resampler.latents[1],
    )


def test_a_backbone_of_another_size_is_refused(
    backbones: tuple[Any, Any, Path], tmp_path: Path
) -> None:
    _, _, folder = backbones
    text = replace(CONFIG.text, mlp_width=64)
    start = Backbones(
        config=replace(CONFIG, text=text),
        vision=str(folder / "siglip"),
        text=str(folder / "mistral"),
    )
    with pytest.raises(ValueError, match=r"mlp.gate_proj.weight is \(48, 32\), not \(64, 32\)"):
        start(tmp_path / "start")
