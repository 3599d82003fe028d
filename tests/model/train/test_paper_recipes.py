"""The paper's recipes, against its published values and on parameters without storage."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from idefics2.model import Idefics2
from idefics2.train import Answers, DenseLabels, Recipe, Stage
from idefics2.train.adapters import TABLES
from idefics2.train.backbones import Backbones
from idefics2.train.loop import prepare_model
from idefics2.train.optimization import AdamW
from idefics2.train.recipe import describe
from idefics2.train.recipe_loading import (
    built_in_recipes,
    find_recipe,
    load_recipes,
    recipe_functions,
)
from idefics2.weights import _Undrawn

ROOT = Path(__file__).parents[3]
CONNECTOR = 91_750_400 + 651_468_800
LORA_64 = 167_772_160 + 34_781_184
"""Rank 64 beside all linear layers: of Mistral, and of SigLIP."""


@pytest.fixture(scope="module")
def paper() -> ModuleType:
    return load_recipes(ROOT / "model" / "recipes" / "paper.py")


def on_meta(recipe: Recipe, stage: Stage) -> Idefics2:
    assert isinstance(recipe.start, Backbones)
    with torch.device("meta"), _Undrawn():
        model = Idefics2(recipe.start.config)
        prepare_model(model, stage)
    return model


def num_trained(model: Idefics2, stage: Stage) -> int:
    """Parameters that can change: of the token tables only the stage's rows."""
    count = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_partial = name in TABLES and stage.trained_tokens is not None
            rows = len(stage.trained_tokens or ()) if is_partial else len(parameter)
            count += rows * parameter[0].numel()
    return count


def test_lora_and_the_connector_are_946_million_trained_parameters(paper: ModuleType) -> None:
    recipe = paper.autoregressive()
    model = on_meta(recipe, recipe.stages[0])
    new_rows = 2 * 2 * 4096
    assert num_trained(model, recipe.stages[0]) == CONNECTOR + LORA_64 + new_rows
    assert round((CONNECTOR + LORA_64) / 1e5) == 9458


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        pytest.param("autoregressive_frozen", 0.743, id="Table 3: 740M"),
        pytest.param("linear_connector", 0.005, id="Table 3: 5M"),
        pytest.param("cross_attention_frozen", 3.14, id="Table 3: 2.3B, and the resampler's 0.74"),
        pytest.param("cross_attention", 3.343, id="Table 3: 2.5B, and the resampler's 0.74"),
        pytest.param("autoregressive_full", 8.403, id="Table 3: 8.3B"),
    ],
)
def test_trained_parameters_of_the_ablations(paper: ModuleType, name: str, billions: float) -> None:
    recipe = getattr(paper, name)()
    model = on_meta(recipe, recipe.stages[0])
    assert num_trained(model, recipe.stages[0]) / 1e9 == pytest.approx(billions, abs=0.011)


def test_published_values_of_pre_training(paper: ModuleType) -> None:
    first, second = paper.stage_1(), paper.stage_2()
    for stage in (first, second):
        assert stage.batch_size == 2048
        (rule,) = stage.optimization.rules
        assert isinstance(rule.optimizer, AdamW)
        assert rule.optimizer.lr == 1e-4
        assert stage.adapters.kind == "lora"
        assert dict(stage.objective.source_tokens) == {"obelics": 2048, "pairs": 1536, "pdfs": 1024}
    assert first.draw.shares == {"obelics": 0.70, "pairs": 0.30}
    assert second.draw.shares == {"obelics": 0.45, "pairs": 0.35, "pdfs": 0.20}
    assert first.images.square == 384
    assert (second.images.longest_side, second.images.shortest_side) == (980, 378)
    assert second.images.square is None
    assert (
        second.objective.augmentation.upscale_share
        > 0
        == (first.objective.augmentation.upscale_share)
    )
    images = (first.num_steps + second.num_steps) * 17_000
    assert images == pytest.approx(1.5e9, rel=1e-3)


def test_published_values_of_instruction_tuning(paper: ModuleType) -> None:
    stage = paper.instruction()
    assert stage.adapters.kind == "dora"
    assert stage.objective.neftune_alpha > 0
    augmentation = stage.objective.augmentation
    assert augmentation.split_share == 0.5
    assert augmentation.shuffle_turns
    assert augmentation.upscale_share > 0
    assert len(paper.TABLE_14) == 59
    assert sum(percent for _, _, percent in paper.TABLE_14.values()) == pytest.approx(99.98)
    shares = stage.draw.shares
    tokens = {name: shares[name] * row[1] / row[0] for name, row in paper.TABLE_14.items()}
    for name, row in paper.TABLE_14.items():
        assert tokens[name] / sum(tokens.values()) == pytest.approx(row[2] / 99.98)


def test_ablations_are_6000_steps_and_change_one_thing(paper: ModuleType) -> None:
    base = paper.autoregressive()
    changed: dict[str, Any] = {
        "autoregressive_frozen": {"adapters"},
        "autoregressive_full": {"adapters", "frozen", "trained_tokens"},
        "cross_attention": set(),
        "latents_128": set(),
        "square_images": {"images"},
        "native_images": {"images"},
        "linear_connector": {"adapters"},
    }
    of_config = {
        "cross_attention": {"architecture"},
        "latents_128": {"perceiver"},
        "linear_connector": {"connector"},
    }
    for name, expected in changed.items():
        recipe = getattr(paper, name)()
        ours, theirs = describe(recipe.stages[0]), describe(base.stages[0])
        assert ours["num_steps"] == 6000
        different = {key for key in ours if ours[key] != theirs[key]} - {"name"}
        assert different == expected, name
        config, base_config = describe(recipe.start.config), describe(base.start.config)
        different = {key for key in config if config[key] != base_config[key]}
        assert different == of_config.get(name, set()), name
    shares = [
        getattr(paper, f"splitting_{name}")().stages[-1].objective.augmentation.split_share
        for name in ("none", "half", "all")
    ]
    assert shares == [0, 0.5, 1]


def test_every_recipe_of_the_project_is_found_by_name() -> None:
    assert {"paper", "tiny"} <= built_in_recipes().keys()
    for recipe_name, path in built_in_recipes().items():
        functions = recipe_functions(load_recipes(path))
        assert "recipe" in functions, path
        for name, function in functions.items():
            assert not inspect.signature(function).parameters
            recipe = find_recipe(f"{recipe_name}:{name}")
            assert recipe.stages
            for stage in recipe.stages:
                assert isinstance(stage.objective, Answers | DenseLabels)
                assert replace(stage) == stage
