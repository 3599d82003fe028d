"""The training loop: stages, steps, micro-batches."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from idefics2.checkpoint import Checkpoint, load
from idefics2.model import Idefics2
from idefics2.train.adapters import (
    TABLES,
    attach,
    choose_trained,
    mask_of_rows,
    merge,
    recompute_layers,
)
from idefics2.train.checkpoints import Folder, Saved, load_state
from idefics2.train.devices import Devices
from idefics2.train.log import Log, Meter
from idefics2.train.objectives import Batch
from idefics2.train.optimization import MuonRule, Optimizers
from idefics2.train.recipe import Recipe, Stage, describe
from idefics2.train.stream import steps_from

LARGE_PRIME = 1_000_003


def train(recipe: Recipe, out: Path, *, is_quiet: bool = False, is_sharded: bool = False) -> Path:
    """Runs a recipe, or resumes the one that the folder holds.

    Returns the folder of the last stage's model. If sharded, each process holds a part of every
    parameter, gradient and optimiser state, where otherwise it holds all.

    Raises: ValueError where the folder has another training, or a stage does not fit the model.
    """
    devices = Devices(is_sharded=is_sharded)
    folder = Folder(out)
    if devices.is_main:
        folder.claim(describe(recipe))
    devices.wait()
    _check_shared(folder, devices)
    log = Log(folder.log, is_quiet=is_quiet)
    origin = _started(recipe, folder, devices)
    latest = folder.saved()[-1] if folder.saved() else None
    names = [stage.name for stage in recipe.stages]
    for index, stage in enumerate(recipe.stages):
        finished = folder.stage(stage.name)
        if not finished.exists():
            saved = latest if latest is not None and latest.stage_index == index else None
            if devices.is_main:
                log.rewind(names[:index], stage.name, saved.step if saved else 0)
            _StageRun(recipe, index, origin, folder, devices, log).go(saved)
            devices.forget()
        origin = finished
    return origin


def _check_shared(folder: Folder, devices: Devices) -> None:
    """Raises: ValueError in every process where some do not see the folder of the first one."""
    mark = folder.path / devices.gather(f".shared-{uuid.uuid4()}")[0]
    if devices.is_main:
        mark.touch()
    devices.wait()
    sees = devices.gather(mark.exists())
    if devices.is_main:
        mark.unlink()
    if not all(sees):
        raise ValueError(
            f"{sees.count(False)} of the {len(sees)} processes see another folder {folder.path} "
            "than the first one, which writes checkpoints for all: name one that they share"
        )


def _started(recipe: Recipe, folder: Folder, devices: Devices) -> Path:
    """The folder of the first stage's model."""
    if devices.is_main:
        origin = recipe.start(folder.path / "start")
    devices.wait()
    origins: list[str] = devices.gather(str(origin) if devices.is_main else "")
    return Path(origins[0])


class _StageRun:
    """One stage of a training, from its start or a checkpoint."""

    def __init__(
        self,
        recipe: Recipe,
        index: int,
        origin: Path,
        folder: Folder,
        devices: Devices,
        log: Log,
    ) -> None:
        self.recipe, self.index, self.stage = recipe, index, recipe.stages[index]
        self.origin, self.folder, self.devices, self.log = origin, folder, devices, log
        stage = self.stage
        if stage.batch_size < devices.share.num_processes:
            raise ValueError(
                f"stage {stage.name}: {stage.batch_size} samples a step for "
                f"{devices.share.num_processes} processes"
            )
        if devices.is_sharded and (stage.evaluate or _has_muon(stage)):
            raise ValueError(
                f"stage {stage.name}: a sharded training has neither Muon, which needs whole "
                "matrices, nor evaluation: evaluate the model that it ends with"
            )
        self.seed = recipe.seed * LARGE_PRIME + index
        self.model, self.processor = _load(origin, stage)
        torch.manual_seed(self.seed)  # adapters and heads are drawn here
        prepare_model(self.model, stage)
        objective = stage.objective.module(self.model, self.seed)
        self.module = devices.prepare(objective)
        self.trained = [  # asked for after `prepare`, since shards are other parameters
            (name, parameter)
            for name, parameter in objective.named_parameters()
            if parameter.requires_grad
        ]
        self.optimizers = Optimizers(
            self.trained,
            stage.optimization,
            stage.num_steps,
            partial=() if stage.trained_tokens is None else TABLES,
        )
        self.masks = [
            (table, devices.shards(mask_of_rows(stage.trained_tokens, table), table))
            for name, table in self.trained
            if stage.trained_tokens is not None and name.endswith(TABLES)
        ]
        self.meter = Meter()

    def go(self, saved: Saved | None) -> None:
        """Trains to the end of the stage and writes its model."""
        stage = self.stage
        start = 0
        if saved is not None:
            self._restore(load_state(saved))
            start = saved.step
        reader = stage.objective.reader(self.processor, self.seed)
        last_logged = start
        with steps_from(stage, reader, self.devices.share, start) as steps:
            self.module.train()
            for step, batches in enumerate(steps, start):
                done = step + 1
                grad_norm, lr = self._step(step, batches)
                is_end = done == stage.num_steps
                saves = done % stage.save_every == 0 or is_end
                # At a checkpoint too, so that a restart does not change what lines are means of
                if done % stage.log_every == 0 or saves:
                    self._write(done, done - last_logged, grad_norm, lr)
                    last_logged = done
                if stage.evaluate and (done % stage.evaluate_every == 0 or is_end):
                    self._evaluate(done)
                if saves:
                    self._save(done)
        self._finish()

    def _step(self, step: int, batches: Sequence[Batch]) -> tuple[float, float]:
        """One optimiser step; returns the gradient norm and the learning rate."""
        devices, stage = self.devices, self.stage
        # Dropout is seeded by the step, so that a restart repeats it
        torch.manual_seed(self.seed + LARGE_PRIME * (1 + step) + devices.share.rank)
        total = devices.total(sum(batch.weight for batch in batches))
        # DDP takes the mean of the processes' gradients where the sum is wanted
        factor = devices.share.num_processes / max(total, 1e-9)
        weighted = [(batch, factor) for batch in batches]
        if devices.is_sharded:  # every process must run the shared layers equally often
            missing = devices.most(len(batches)) - len(batches)
            weighted += [(batches[0], 0.0)] * missing
        for index, (batch, batch_factor) in enumerate(weighted):
            is_last = index == len(weighted) - 1
            batch = batch.to(devices.device)
            with devices.accumulates(self.module, is_last):
                with devices.arithmetic(stage.precision):
                    losses = self.module(batch)
                (losses.total * batch_factor).backward()
            if batch_factor:
                self.meter.add(batch.sources, losses.by_source)
                self.meter.count(batch.num_tokens, batch.num_examples)
        for table, mask_V1 in self.masks:
            if table.grad is not None:
                table.grad.mul_(mask_V1)
        parameters = [parameter for _, parameter in self.trained]
        grad_norm = devices.clip(parameters, stage.optimization.max_grad_norm)
        return grad_norm, self.optimizers.step(step)

    def _write(self, done: int, steps: int, grad_norm: float, lr: float) -> None:
        measured = self.meter.read(self.devices)
        if self.devices.is_main:
            where = {"kind": "train", "stage": self.stage.name, "step": done}
            sizes = {"num_steps": self.stage.num_steps, "steps": steps}
            self.log.write(where | sizes | {"lr": lr, "grad_norm": grad_norm} | measured)

    def _evaluate(self, done: int) -> None:
        """Evaluates in the first process alone; the others wait at their next exchange."""
        assert self.stage.evaluate is not None
        if self.devices.is_main:
            self.module.eval()
            with torch.no_grad():
                scores = self.stage.evaluate(self.model, self.processor, done)
            self.module.train()
            self.log.write(
                {
                    "kind": "evaluation",
                    "stage": self.stage.name,
                    "step": done,
                    "scores": dict(scores),
                }
            )
        self.devices.wait()

    def _save(self, done: int) -> None:
        state = {
            "step": done,
            "parameters": self.devices.whole_for_main(dict(self.trained)),
            "optimizers": self.devices.whole_for_main(self.optimizers.state_dict()),
        }
        if self.devices.is_main:
            is_whole = self.stage.adapters is None and not self.devices.is_sharded
            model = self.model if is_whole else None
            self.folder.save(self.index, done, state, model, self.origin)
            self.folder.keep_last(self.recipe.keep)
        self.devices.wait()

    def _restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, parameter in self.trained:
                parameter.copy_(self.devices.shards(state["parameters"][name], parameter))
        self.optimizers.load_state_dict(state["optimizers"])
        for optimizer in self.optimizers.all:
            for moved, values in optimizer.state.items():
                for key, value in values.items():
                    if torch.is_tensor(value) and value.shape == moved.shape:
                        values[key] = self.devices.shards(value, moved)

    def _finish(self) -> None:
        model = self.model
        if self.devices.is_sharded:
            parameters = self.devices.whole_for_main(dict(model.named_parameters()))
            if self.devices.is_main:
                model, _ = _load(self.origin, self.stage)
                prepare_model(model, self.stage)
                with torch.no_grad():
                    for name, parameter in model.named_parameters():
                        parameter.copy_(parameters[name])
        if self.devices.is_main:
            merge(model)
            self.folder.finish(self.stage.name, model, self.origin)
        self.devices.wait()


def _has_muon(stage: Stage) -> bool:
    return any(isinstance(rule.optimizer, MuonRule) for rule in stage.optimization.rules)


def prepare_model(model: Idefics2, stage: Stage) -> None:
    """Applies a stage's adapters, frozen parts and activation checkpointing, in place."""
    if stage.adapters is not None:
        attach(model, stage.adapters)
    choose_trained(model, stage.frozen)
    if stage.recompute:
        recompute_layers(model)


def _load(origin: Path, stage: Stage) -> Checkpoint:
    model, processor = load(origin)
    if stage.prepare is not None:
        model = stage.prepare(model)
    images = processor.images if stage.images is None else stage.images
    return Checkpoint(model, replace(processor, config=model.config, images=images))
