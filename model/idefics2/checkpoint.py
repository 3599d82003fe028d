"""Model and processor of a checkpoint in one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from idefics2.config import Idefics2Config
from idefics2.model import Idefics2
from idefics2.processor import Processor
from idefics2.tokens import Compat
from idefics2.weights import load_model, resolve


class Checkpoint(NamedTuple):
    """A model and its processor."""

    model: Idefics2
    processor: Processor


def load(
    path_or_hub_id: str | Path,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    compat: Compat = "release",
) -> Checkpoint:
    """A checkpoint from a folder, or from the hub at a revision, prepared for its device.

    Raises: ValueError naming what is missing, broken or not implemented; the weights come last.
    """
    folder = resolve(path_or_hub_id, revision)
    config = Idefics2Config.from_json(folder / "config.json")
    processor = Processor.load(folder, config, compat=compat)
    model = load_model(folder, dtype=dtype, device=device)
    return Checkpoint(model, replace(processor, config=model.config))
