"""Trains backbones and arms, several side by side, and keeps what comes of each."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from idefics2.checkpoint import load
from idefics2.model import Idefics2
from idefics2.processor import Processor
from idefics2.train.log import read_log
from idefics2.train.loop import train

from . import arm_files, backbones
from .arm_files import ArmResult, Point, percent
from .arms import ARMS, REFERENCE, Arm
from .costs import inference_costs, training_costs
from .evaluation import Control, Questions, mean, questions, scores
from .models import SIZES
from .training import NATIVE, recipe

KEPT_POINTS = 50
"""Loss curve size."""


@dataclass(frozen=True, slots=True)
class Places:
    """Laboratory folders."""

    runs: Path
    """Trainings under way, not to be committed."""
    results: Path
    """Backbones, and what is kept of arms."""

    @property
    def backbones(self) -> Path:
        return self.results / "backbones"

    @property
    def arms(self) -> Path:
        return self.results / "arms"

    def run_of(self, name: str) -> Path:
        return self.runs / name


@dataclass(frozen=True, slots=True)
class Watch:
    """Reads the validation part during training and keeps the scores beside it."""

    folder: Path

    def __call__(self, model: Idefics2, processor: Processor, step: int) -> Mapping[str, float]:
        asked = questions("validation")
        found = _scores(model, processor, asked)
        path = self.folder / f"validation-{step:06}.json"
        path.write_text(json.dumps(percent(found)), "utf-8")
        families = sorted({item.family for item in asked.items})
        return {
            family: mean(
                s for s, item in zip(found, asked.items, strict=True) if item.family == family
            )
            for family in families
        }


def train_backbone(
    part: backbones.Part, strength: backbones.Strength, size: str, places: Places
) -> None:
    """Trains a backbone, or the rest of one, and keeps its weights; finished ones stay."""
    if not backbones.weights(places.backbones, part, strength).exists():
        run = places.run_of(f"{size}-{part}-{strength}")
        trained = train(backbones.backbone(part, strength, SIZES[size]), run)
        backbones.keep(places.backbones, part, strength, trained)


def train_arm(name: str, seed: int, size: str, num_steps: int, places: Places) -> None:
    """Trains an arm, or the rest of one, reads the test part and keeps the result."""
    arm, run = ARMS[name], places.run_of(f"{size}-{name}-{seed}")
    run.mkdir(parents=True, exist_ok=True)
    costs = _training_costs(arm, size, num_steps, places)
    if arm.flops_of is not None:
        cheaper = _training_costs(ARMS[arm.flops_of], size, num_steps, places)
        num_steps = round(num_steps * cheaper["sample_flops"] / costs["sample_flops"])
    training = recipe(
        arm, seed, SIZES[size], places.backbones, num_steps=num_steps, evaluate=Watch(run)
    )
    trained = train(training, run)
    asked = questions("test")
    test, more_costs, is_finite = _tested(arm, trained, asked)
    stage = training.stages[0]
    log = read_log(run / "log.jsonl")
    curve = [line for line in log if line["kind"] == "train"]
    every = -(-len(curve) // KEPT_POINTS)
    result = ArmResult(
        arm=name,
        seed=seed,
        size=size,
        steps=num_steps,
        samples=num_steps * stage.batch_size,
        validation=tuple(
            Point(step=int(path.stem.partition("-")[2]), scores=tuple(json.loads(path.read_text())))
            for path in sorted(run.glob("validation-*.json"))
        ),
        test={shown: percent(found) for shown, found in test.items()},
        curve=tuple(
            (line["step"], round(line["loss"], 4), round(line["grad_norm"], 3))
            for line in curve[::every]
        ),
        costs=costs | more_costs | {"wall_s": round(sum(line["seconds"] for line in curve), 1)},
        is_finite=is_finite,
    )
    asked_parts = {"validation": questions("validation").items, "test": asked.items}
    arm_files.write_questions(places.results, asked_parts)
    result.write(places.arms)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def _training_costs(arm: Arm, size: str, num_steps: int, places: Places) -> dict[str, float]:
    """The same for all seeds of an arm, so counted once."""
    path = places.runs / f"{size}-{arm.name}-costs.json"
    if not path.exists():
        training = recipe(arm, 0, SIZES[size], places.backbones, num_steps=num_steps)
        with tempfile.TemporaryDirectory() as folder:
            counted = training_costs(training, training.start(Path(folder) / "start"))
        new = path.with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps(counted), "utf-8")
        new.replace(path)
    found: dict[str, float] = json.loads(path.read_text("utf-8"))
    return found


def _scores(
    model: Idefics2, processor: Processor, asked: Questions, shown: str = "whole"
) -> list[float]:
    """Scores; zeros for a model whose logits are not numbers."""
    controls: dict[str, Control] = {"blank": "blank", "other": "other"}
    control = controls.get(shown, "none")
    try:
        return scores(model, processor, asked, is_split=shown == "split", control=control)
    except ValueError:
        if all(parameter.isfinite().all() for parameter in model.parameters()):
            raise
        return [0.0] * len(asked.items)


def _tested(
    arm: Arm, trained: Path, asked: Questions
) -> tuple[dict[str, list[float]], dict[str, float], bool]:
    """Scores by how pictures are shown, costs of answers, and whether the model has numbers."""
    shown = ["whole", *(["split"] if arm.is_asked_split else [])]
    shown += ["blank", "other"] if arm.name == REFERENCE else []
    try:
        model, processor = load(trained)
    except ValueError:  # parameters that are no numbers
        return {name: [0.0] * len(asked.items) for name in shown}, {}, False
    if arm.is_native:
        processor = replace(processor, images=NATIVE)
    model.eval()
    test: dict[str, list[float]] = {}
    costs: dict[str, float] = {}
    for name in shown:
        test[name] = _scores(model, processor, asked, shown=name)
        if name in ("whole", "split"):
            found = inference_costs(processor, asked, is_split=name == "split")
            costs |= {f"{name}_{key}": value for key, value in found.items()}
    return test, costs, True
