"""Weights of eight bits: near the model's own, smaller, and the engine's answers are generate's."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from idefics2 import onednn
from idefics2.engine import Engine, Request, images_of
from idefics2.generate import generate
from idefics2.int8 import quantize
from idefics2.model import Idefics2
from idefics2.sampling import Sampling


@pytest.fixture
def model(small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]) -> Idefics2:
    return random_model(small())


def test_without_torchao_it_says_what_to_install(
    model: Idefics2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ValueError, match="int8 weights need torchao: pip install torchao"):
        quantize(model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_weights_are_rounded_to_a_scale_a_row_and_answers_are_those_of_generate(
    model: Idefics2, make_case: Callable[..., Any]
) -> None:
    pytest.importorskip("torchao", reason="torchao is not installed")
    plain = copy.deepcopy(model)
    quantize(onednn.prepare(model))  # as a loaded model is
    assert type(model.lm_head.weight) is nn.Parameter
    for name, layer in plain.named_modules():
        if isinstance(layer, nn.Linear) and name != "lm_head":
            weight = layer.weight.detach()
            scale = weight.abs().amax(1, keepdim=True) / 127.5
            found: Any = model.get_submodule(name).weight
            assert found.qdata.dtype == torch.int8
            difference = (found.dequantize() - weight).abs()
            assert (difference <= scale * 1.01).all(), name
    prompts = [make_case(model.config, [3, (20, 36), 5], seed).prompt for seed in range(6)]
    sampling = Sampling(max_new_tokens=5)
    requests = [
        Request(
            id=str(number),
            ids=prompt.ids,
            images=images_of(prompt, model.config),
            sampling=sampling,
        )
        for number, prompt in enumerate(prompts)
    ]
    answers = {result.id: result for result in Engine(model).run(requests)}
    for number, prompt in enumerate(prompts):
        [expected] = generate(model, [prompt], sampling)
        assert (answers[str(number)].error, answers[str(number)].ids) == ("", expected.ids)
    with torch.inference_mode():
        prompt = prompts[0]
        logits = [
            one(
                torch.tensor([prompt.ids]),
                visual=one.encode_images(prompt.patches_PK, prompt.grid_I2),
            )
            for one in (plain, model)
        ]
    error = (logits[1] - logits[0]).abs().max() / logits[0].abs().max()
    assert 1e-5 < error < 0.1
