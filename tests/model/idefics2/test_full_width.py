"""The 8B model's widths, with two layers of each stack, against transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from idefics2.config import IDEFICS2_8B
from idefics2.model import Idefics2
from idefics2.weights import checkpoint_names

POOL_SIZE = 140_000_000  # numbers: the largest matrix has 131 million


def test_full_width_logits_match_transformers(
    make_case: Callable[..., Any], assert_same_logits: Callable[..., None]
) -> None:
    from transformers import Idefics2Config as TheirConfig
    from transformers import Idefics2ForConditionalGeneration
    from transformers.models.mistral.modeling_mistral import MistralRotaryEmbedding

    config = replace(
        IDEFICS2_8B,
        vision=replace(IDEFICS2_8B.vision, num_layers=2),
        perceiver=replace(IDEFICS2_8B.perceiver, num_layers=2),
        text=replace(IDEFICS2_8B.text, num_layers=2),
    )
    with torch.device("meta"):
        ours = Idefics2(config)
        theirs: Any = Idefics2ForConditionalGeneration(TheirConfig.from_dict(config.to_json()))
    # Matrices are windows at different places of one pool of random numbers: 1.26 billion
    # parameters, of which two models would fill 10 GB, take 0.6 GB and a second.
    pool = torch.empty(POOL_SIZE).uniform_(-0.03, 0.03, generator=torch.Generator().manual_seed(0))
    weights = {}
    for index, (name, parameter) in enumerate(theirs.named_parameters()):
        start = index * 1_000_003 % (POOL_SIZE - parameter.numel())
        weights[name] = pool[start : start + parameter.numel()].view(parameter.shape)
        if "norm" in name and "weight" in name:
            weights[name] = weights[name] * 10 + 1
    assert sum(tensor.numel() for tensor in weights.values()) > 1_250_000_000
    theirs.load_state_dict(weights, assign=True)
    theirs.model.text_model.rotary_emb = MistralRotaryEmbedding(theirs.config.text_config)
    names = checkpoint_names(ours)
    ours.load_state_dict(
        {name: weights[names[name]].view(p.shape) for name, p in ours.named_parameters()},
        assign=True,
    )
    case = make_case(config, (4, (7 * 14 + 5, 11 * 14), 9))
    assert_same_logits(ours, theirs.eval(), [case])
