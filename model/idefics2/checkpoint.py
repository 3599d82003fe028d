"""Model and processor of a checkpoint in one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from idefics2 import adapters
from idefics2.adapters import Adapter
from idefics2.config import Idefics2Config
from idefics2.model import Idefics2
from idefics2.processor import TOKENIZER, Processor
from idefics2.shards import has_weights
from idefics2.tokens import Compat, compat_of
from idefics2.weights import load_model, resolve

SMALL = ("*.json", "*.jinja", "tokenizer*")
ADAPTER = ("adapter_*", *SMALL)


class Checkpoint(NamedTuple):
    """A model and its processor."""

    model: Idefics2
    processor: Processor


class Folders(NamedTuple):
    """Folders of checkpoint parts."""

    model: Path
    """Config and weights."""
    processor: Path
    """Tokenizer, image processor and chat template."""
    adapter: Path | None
    """Adapter to merge into weights."""


def load(
    path_or_hub_id: str | Path,
    *,
    revision: str | None = None,
    adapter: str | Path | None = None,
    processor: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    compat: Compat | None = None,
) -> Checkpoint:
    """A checkpoint from a folder, or from the hub at a revision, prepared for its device.

    An adapter that peft saved is merged: `adapter`, or one in the checkpoint's folder, which then
    may lack the base model's files. `processor` has tokenizer and image processor, if the
    checkpoint's folder has not. Without `compat`, token ids are as in `compat_of`.

    Raises: ValueError naming what is missing, broken or not implemented; the weights come last.
    """
    folders = locate(path_or_hub_id, revision, adapter, processor)
    return load_located(folders, dtype=dtype, device=device, compat=compat)


def load_located(
    folders: Folders,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    compat: Compat | None = None,
) -> Checkpoint:
    """The second half of `load`: from folders to a model."""
    merged: Adapter | None = None
    if folders.adapter is not None:
        merged = adapters.load_adapter(folders.adapter)
    config = Idefics2Config.from_json(folders.model / "config.json")
    made = load_processor(folders, config, compat)
    model = load_model(folders.model, adapter=merged, dtype=dtype, device=device)
    return Checkpoint(model, replace(made, config=model.config))


def locate(
    path_or_hub_id: str | Path,
    revision: str | None = None,
    adapter: str | Path | None = None,
    processor: str | Path | None = None,
) -> Folders:
    """The folders that `load` reads, after downloading what is on the hub.

    Raises: ValueError for one that is nowhere, or an adapter that does not name its base model.
    """
    folder = resolve(path_or_hub_id, revision)
    found = None if adapter is None else resolve(adapter, patterns=ADAPTER)
    if found is not None and not adapters.is_adapter(found):
        raise ValueError(f"{found} has no {adapters.CONFIG}: it holds no adapter")
    model = folder
    if found is None and adapters.is_adapter(folder):
        found = folder
        if not has_weights(folder):
            model = _base(folder)
    if processor is not None:
        return Folders(model, resolve(processor, patterns=SMALL), found)
    has_own = found is not None and all((found / name).exists() for name in TOKENIZER)
    return Folders(model, found if found is not None and has_own else model, found)


def _base(adapter: Path) -> Path:
    """The folder of the model that an adapter was trained on."""
    name, revision = adapters.base_of(adapter)
    try:
        return resolve(name, None if Path(name).is_dir() else revision)
    except ValueError as error:
        raise ValueError(
            f"the base model of {adapter}: {error}; if you have it elsewhere, name that as the "
            f"model, with --adapter {adapter}"
        ) from error


def load_processor(
    folders: Folders, config: Idefics2Config, compat: Compat | None = None
) -> Processor:
    """The processor of a checkpoint that was located.

    Raises: ValueError as `Processor.load` does.
    """
    if compat is None:
        model, processor, adapter = folders
        compat = compat_of([model, processor] if adapter is None else [adapter, processor, model])
    return Processor.load(folders.processor, config, compat=compat, model_folder=folders.model)
