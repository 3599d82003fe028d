"""Quantised checkpoints: what each is, and the way out, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from idefics2.config import Idefics2Config
from idefics2.model import Idefics2
from idefics2.weights import load_model, save_model

LAYER = "model.text_model.layers.0.mlp.up_proj"
AWQ: dict[str, Any] = {"quant_method": "awq", "bits": 4, "modules_to_not_convert": ["vision"]}
BNB: dict[str, Any] = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(AWQ, "with AWQ, 4 bits;.* with gptqmodel installed", id="AWQ"),
        pytest.param({"quant_method": "gptq", "bits": 8}, "with GPTQ, 8 bits;", id="GPTQ"),
        pytest.param(BNB, "with bitsandbytes, 4 bits;", id="bitsandbytes, 4 bits"),
        pytest.param(
            BNB | {"load_in_4bit": False, "load_in_8bit": True},
            "with bitsandbytes, 8 bits;.* with bitsandbytes and accelerate installed",
            id="bitsandbytes, 8 bits",
        ),
        pytest.param({"quant_method": "fp8"}, r"with fp8;.* runs these \(vlmbench", id="fp8"),
        pytest.param({"quant_method": "of2031"}, "with of2031;", id="one of later years"),
        pytest.param({}, "in a way that config.json does not name;", id="unnamed"),
    ],
)
@pytest.mark.parametrize("part", [None, "text_config"])
def test_a_config_that_says_so_is_refused_with_the_method_and_the_way_out(
    settings: dict[str, Any], message: str, part: str | None, small: Callable[..., dict[str, Any]]
) -> None:
    content = json.loads(json.dumps(small()))
    (content if part is None else content[part])["quantization_config"] = settings
    with pytest.raises(ValueError, match=rf"quantised {message}.*--model transformers:"):
        Idefics2Config.from_json(content)


def test_a_config_that_says_null_is_not_quantised(small: Callable[..., dict[str, Any]]) -> None:
    content = small()
    assert Idefics2Config.from_json(content | {"quantization_config": None}) == (
        Idefics2Config.from_json(content)
    )


def packed(tensors: dict[str, Tensor], *names: str) -> None:
    del tensors[f"{LAYER}.weight"]
    tensors |= {f"{LAYER}.{name}": torch.zeros(4, 8, dtype=torch.int32) for name in names}


@pytest.mark.parametrize(
    ("change", "method"),
    [
        pytest.param(lambda t: packed(t, "qweight", "qzeros", "scales"), "AWQ", id="AWQ"),
        pytest.param(
            lambda t: packed(t, "qweight", "qzeros", "scales", "g_idx"), "GPTQ", id="GPTQ"
        ),
        pytest.param(
            lambda t: packed(t, "weight", "weight.absmax", "weight.quant_map"),
            "bitsandbytes",
            id="bitsandbytes, 4 bits",
        ),
        pytest.param(lambda t: packed(t, "weight", "SCB"), "bitsandbytes", id="and 8 bits"),
        pytest.param(
            lambda t: t.update({f"{LAYER}.weight": torch.zeros(2).to(torch.float8_e4m3fn)}),
            "fp8",
            id="fp8",
        ),
    ],
)
def test_tensors_that_a_config_does_not_tell_of_are_refused_with_the_method(
    change: Callable[[dict[str, Tensor]], None],
    method: str,
    tmp_path: Path,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
) -> None:
    save_model(random_model(small()), tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=f"quantised with {method}, but config.json has no quanti"):
        load_model(tmp_path)
