"""A whole training, as data: where it starts and its stages, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from idefics2.images import ImageSettings
from idefics2.model import Idefics2
from idefics2.processor import Processor
from idefics2.train.adapters import Adapters
from idefics2.train.objectives import Objective
from idefics2.train.optimization import Optimization

Precision = Literal["float32", "bfloat16"]
Evaluate = Callable[[Idefics2, Processor, int], Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """So many steps towards one objective."""

    name: str
    draw: Callable[[int], Any]
    """The sample of that number, from 0 on without end; the same whenever it is asked for."""
    objective: Objective
    optimization: Optimization
    num_steps: int
    batch_size: int
    """Samples of a step, over all processes."""
    micro_tokens: int
    """A micro-batch closes before it exceeds so many tokens of the decoder, ..."""
    micro_patches: int
    """... or so many patches; a single larger sample still makes one."""
    frozen: tuple[str, ...] = ()
    """Parameters in whose names one of these patterns is found stay as they are."""
    trained_tokens: tuple[int, ...] | None = None
    """Of the embedding table and the output projection only these rows move, without weight decay;
    None: all."""
    adapters: Adapters | None = None
    """LoRA or DoRA, merged into the weights at the end of the stage; None: none."""
    prepare: Callable[[Idefics2], Idefics2] | None = None
    """What changes in the model before the stage; must do the same each time."""
    images: ImageSettings | None = None
    """How pictures are cut; None: as the checkpoint says."""
    precision: Precision = "float32"
    """Of the arithmetic; parameters are float32. bfloat16 is torch's autocast."""
    recompute: bool = False
    """Whether layers run again in the backward pass, to keep less in memory."""
    evaluate: Evaluate | None = None
    """Scores by name; the model is in evaluation mode, the last argument the step."""
    evaluate_every: int = 1000
    """Steps; the end of the stage is always evaluated."""
    log_every: int = 10
    save_every: int = 500
    workers: int = 0
    """Processes that draw ahead, for each training process; 0: it draws itself."""
    buffer_steps: int = 4
    """How many steps' samples may wait in memory, shared among the workers but at least one each;
    a worker holds the one that it makes besides."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "micro_tokens", "micro_patches", "evaluate_every"):
            _check_positive(self, name)
        for name in ("log_every", "save_every", "buffer_steps"):
            _check_positive(self, name)
        if self.workers < 0:
            raise ValueError(f"stage {self.name}: workers must not be negative: {self.workers}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"stage {self.name}: precision {self.precision!r} is not implemented")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What `vlmbench train` runs."""

    name: str
    start: Callable[[Path], Path]
    """The folder of the checkpoint to start from: one that exists, or the given one, filled."""
    stages: tuple[Stage, ...]
    seed: int = 0
    keep: int = 2
    """Checkpoints that are kept, the latest ones."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"recipe {self.name}: no stages, or two of one name: {names}")
        if self.keep < 1:
            raise ValueError(f"recipe {self.name}: keep must be positive, not {self.keep}")


def _check_positive(stage: Stage, name: str) -> None:
    if getattr(stage, name) < 1:
        raise ValueError(f"stage {stage.name}: {name} must be positive: {getattr(stage, name)}")


def describe(value: object) -> Any:
    """All settings as JSON values; functions by their names, objects of other kinds by theirs."""
    if is_dataclass(value) and not isinstance(value, type):
        settings = (item.name for item in fields(value) if item.init)
        described = {name: describe(getattr(value, name)) for name in settings}
        return {"type": type(value).__qualname__, **described}
    if isinstance(value, partial):
        return [describe(value.func), *map(describe, value.args), describe(value.keywords)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(getattr(value, "__qualname__", type(value).__qualname__))
