"""A training as data: the checkpoint to start from, and its stages in order."""

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
    """A number of steps on one objective."""

    name: str
    draw: Callable[[int], Any]
    """The sample of a number, from 0 on without end; the same at every call."""
    objective: Objective
    optimization: Optimization
    num_steps: int
    batch_size: int
    """Samples of a step, over all processes."""
    micro_tokens: int
    """Most decoder tokens of a micro-batch of several samples."""
    micro_patches: int
    """Most patches of a micro-batch of several samples."""
    frozen: tuple[str, ...] = ()
    """Patterns (`re.search`) of the names of parameters that are not trained."""
    trained_tokens: tuple[int, ...] | None = None
    """Rows of the embedding table and the output projection that are trained, without weight decay;
    None: all."""
    adapters: Adapters | None = None
    """LoRA or DoRA, merged into the weights at the end of the stage; None: none."""
    prepare: Callable[[Idefics2], Idefics2] | None = None
    """Changes the model before the stage, in the same way at every call; None: no change."""
    images: ImageSettings | None = None
    """Resizing and splitting of pictures; None: as the checkpoint says."""
    precision: Precision = "float32"
    """Precision of the forward pass (torch's autocast); parameters are float32."""
    recompute: bool = False
    """Activation checkpointing: layers run again in the backward pass, to save memory."""
    evaluate: Evaluate | None = None
    """Scores by name; the model is in evaluation mode, the last argument the step."""
    evaluate_every: int = 1000
    """Steps; the end of the stage is always evaluated."""
    log_every: int = 10
    save_every: int = 500
    workers: int = 0
    """Data-loading processes of each training process; 0: it draws samples itself."""
    buffer_steps: int = 4
    """Prefetched steps in memory, divided among the workers, at least one each; every worker holds
    the step that it is preparing besides."""

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
    """A training that `vlmbench train` runs."""

    name: str
    start: Callable[[Path], Path]
    """Returns the folder of the checkpoint to start from: an existing one, or the given one after
    writing it."""
    stages: tuple[Stage, ...]
    seed: int = 0
    keep: int = 2
    """Number of latest checkpoints that are kept."""

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
    """All settings as JSON values; functions by name, objects that are not data by their type's."""
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
