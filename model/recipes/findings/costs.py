"""What an arm costs: operations of a training step, counted as it runs, and of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from idefics2.checkpoint import load
from idefics2.flops import Forecast
from idefics2.model import Idefics2
from idefics2.processor import Processor
from idefics2.train.adapters import TABLES
from idefics2.train.loop import prepare_model
from idefics2.train.recipe import Recipe
from idefics2.train.stream import Share, batches_of

from .backbones import worded
from .evaluation import MAX_NEW_TOKENS, Questions

COUNTED_STEPS = 2


def training_costs(recipe: Recipe, origin: Path) -> dict[str, float]:
    """Parameters, and operations and tokens of a sample, means over some of its steps.

    Products are counted forward and backward, as far as each parameter's training needs them.
    """
    stage = recipe.stages[0]
    model, processor = load(origin)
    images = processor.images if stage.images is None else stage.images
    processor = replace(processor, images=images)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    prepare_model(model, stage)
    num_trained = _count_trained(model, stage.trained_tokens)
    reader = stage.objective.reader(processor, recipe.seed)
    # In float64, as torch counts its own products and not those of other libraries
    module = deepcopy(stage.objective.module(model, recipe.seed)).double()
    flops = tokens = 0
    for step in range(COUNTED_STEPS):
        for batch in batches_of(stage, reader, step, Share()):
            flops += _count(module, batch)
            tokens += batch.num_tokens
    num_samples = COUNTED_STEPS * stage.batch_size
    return {
        "parameters": num_parameters,
        "trained_parameters": num_trained,
        "sample_flops": flops / num_samples,
        "sample_tokens": tokens / num_samples,
    }


def _count_trained(model: Idefics2, trained_tokens: Sequence[int] | None) -> int:
    """Parameters that can move; of tables perhaps only some tokens' rows."""
    count = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_partial = name in TABLES and trained_tokens is not None
            rows = len(trained_tokens or ()) if is_partial else len(parameter)
            count += rows * parameter[0].numel()
    return count


def _count(module: nn.Module, batch: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        module(batch).total.backward()
    return int(counter.get_total_flops())


def inference_costs(processor: Processor, asked: Questions, *, is_split: bool) -> dict[str, float]:
    """Visual tokens of a picture, and operations of an answer of the longest length; means."""
    forecast = Forecast(processor.config, replace(processor.images, split=is_split))
    sizes = [picture.size for picture in asked.pictures]
    flops = 0
    for item in asked.items:
        num_text = len(processor.prompt([worded(item.question)]).ids)
        work = forecast.flops([sizes[item.picture]], num_text, MAX_NEW_TOKENS)
        flops += sum(work.values())
    visual = sum(forecast.visual_tokens([size]) for size in sizes)
    return {
        "visual_tokens": visual / len(sizes),
        "answer_flops": flops / len(asked.items),
    }
