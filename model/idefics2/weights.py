"""Checkpoints: from the hub, into a model, and back into files that transformers loads too.

Only safetensors are read. Names are the released ones, `MODULES` has the few that differ from ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from idefics2 import adapters, onednn
from idefics2.adapters import Adapter
from idefics2.config import Idefics2Config
from idefics2.model import Idefics2
from idefics2.quantized import refuse_tensors
from idefics2.shards import INDEX, SINGLE, Found, find, headers_of, opened

MODULES = (
    ("vision_model.patch_embedding.", "model.vision_model.embeddings.patch_embedding."),
    ("vision_model.position_embedding.", "model.vision_model.embeddings.position_embedding."),
    ("vision_model.layers.", "model.vision_model.encoder.layers."),
    ("lm_head.", "lm_head."),
    ("", "model."),
)
"""Our modules and the checkpoint's; the first that fits counts."""

PATCH_WEIGHT = "vision_model.patch_embedding.weight"
EMBEDDINGS = "model.text_model.embed_tokens.weight"
BASE_VOCABULARIES = {32002, 32003}  # the base model's first upload lacks <end_of_utterance>
FLOATS = {"F64", "F32", "F16", "BF16"}
DOWNLOADED = ("*.safetensors", "*.json", "*.jinja", "tokenizer*")


def resolve(
    path_or_hub_id: str | Path,
    revision: str | None = None,
    patterns: Sequence[str] = DOWNLOADED,
) -> Path:
    """The folder of a checkpoint: a local one as it is, a hub id after downloading what is read.

    Raises: ValueError if there is neither.
    """
    folder = Path(path_or_hub_id)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{folder} is a folder: revision {revision!r} is for hub ids")
        return folder
    name = str(path_or_hub_id)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{name} is no folder, nor to be had from the hub: {reason}") from error


def load_model(
    folder: str | Path,
    *,
    adapter: Adapter | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Idefics2:
    """The model of a folder, with an adapter merged; tensors go one by one to dtype and device.

    Files are memory-mapped and tensors converted one by one: beside the model at most one shard is
    in memory.

    Raises: ValueError naming the file or tensor that is missing, unexpected, misshapen, damaged,
        quantised, not of floating point, or holds a value that is not finite.
    """
    folder = Path(folder)
    config = Idefics2Config.from_json(folder / "config.json")
    found = find(folder)
    if adapter is not None:
        found |= _replacements(adapter)
    config = _match_vocabulary(config, found)
    with torch.device("meta"), _Undrawn():
        model = Idefics2(config)
    ours = {theirs: name for name, theirs in checkpoint_names(model).items()}
    _check(found, checkpoint_shapes(model), folder)
    if adapter is not None and (unknown := [name for name in adapter.names if name not in found]):
        raise ValueError(f"{adapter.folder} changes what the model has not: {_some(unknown)}")
    for path in sorted({tensor.path for tensor in found.values()}):
        with opened(path) as shard:
            for theirs in sorted(name for name, tensor in found.items() if tensor.path == path):
                tensor = shard.get_tensor(found[theirs].key)
                if not torch.stack(tensor.aminmax()).isfinite().all():  # NaN is both
                    raise ValueError(f"{theirs} in {path} holds a value that is not finite")
                if adapter is not None:
                    tensor = adapter.merged(theirs, tensor.to(device))
                _assign(model, ours[theirs], tensor.to(device, dtype, copy=True))
    model.tie_embeddings()
    return onednn.prepare(model.eval())


def save_model(
    model: Idefics2, folder: str | Path, *, max_shard_bytes: int = 5_000_000_000
) -> None:
    """Writes config and weights, in shards of at most so many bytes, or of one larger tensor.

    Raises: ValueError if the folder has weights already: a mixture could not be told from a whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if present := sorted(folder.glob("*.safetensors*")):
        raise ValueError(f"{folder} has weights already, such as {present[0].name}")
    shards: list[dict[str, Tensor]] = []
    parameters = dict(model.named_parameters())
    room = 0
    for name, theirs in checkpoint_names(model).items():
        tensor = parameters[name].detach().cpu().contiguous().view(_shape(model, name))
        if tensor.nbytes > room:
            shards.append({})
            room = max_shard_bytes
        shards[-1][theirs] = tensor
        room -= tensor.nbytes
    files = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    if len(files) == 1:
        files = [SINGLE]
    for file, shard in zip(files, shards, strict=True):
        save_file(shard, folder / file, metadata={"format": "pt"})
    if len(files) > 1:
        weight_map = {
            name: file for file, shard in zip(files, shards, strict=True) for name in shard
        }
        size = sum(tensor.nbytes for shard in shards for tensor in shard.values())
        _write(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})
    dtype = str(model.dtype).removeprefix("torch.")
    _write(folder / "config.json", model.config.to_json() | {"torch_dtype": dtype})


class _Undrawn(TorchFunctionMode):
    """Skips the initialisation of parameters, which on the meta device imports the compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def checkpoint_names(model: Idefics2) -> dict[str, str]:
    """Parameter names to those in a checkpoint; a tied output projection is in neither."""
    return {
        name: next(
            theirs + name.removeprefix(ours) for ours, theirs in MODULES if name.startswith(ours)
        )
        for name, _ in model.named_parameters()
    }


def checkpoint_shapes(model: Idefics2) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a checkpoint, by name, in transformers' order."""
    return {theirs: _shape(model, name) for name, theirs in checkpoint_names(model).items()}


def _shape(model: Idefics2, name: str) -> tuple[int, ...]:
    """A parameter's shape in a checkpoint, where the patch embedding is a convolution."""
    shape = tuple(model.get_parameter(name).shape)
    if name == PATCH_WEIGHT:
        side = model.config.vision.patch_size
        return (shape[0], 3, side, side)
    return shape


def _assign(model: Idefics2, name: str, tensor: Tensor) -> None:
    module, _, leaf = name.rpartition(".")
    shape = model.get_parameter(name).shape
    setattr(model.get_submodule(module), leaf, nn.Parameter(tensor.view(shape)))


def _replacements(adapter: Adapter) -> dict[str, Found]:
    """Tensors that an adapter has whole."""
    if not adapter.replaced:
        return {}
    headers = headers_of(adapter.folder / adapters.WEIGHTS)
    return {name: headers[key] for name, key in adapter.replaced.items()}


def _match_vocabulary(config: Idefics2Config, found: dict[str, Found]) -> Idefics2Config:
    """The config with the table's rows: an adapter's, or the base model's with one less."""
    if EMBEDDINGS not in found:
        return config
    table = found[EMBEDDINGS]
    rows = table.shape[0]
    if table.path.name == adapters.WEIGHTS or {rows, config.text.vocab_size} == BASE_VOCABULARIES:
        return replace(config, text=replace(config.text, vocab_size=rows))
    return config


def _check(found: dict[str, Found], shapes: dict[str, tuple[int, ...]], folder: Path) -> None:
    refuse_tensors({name: tensor.dtype for name, tensor in found.items()}, folder)
    if missing := [name for name in shapes if name not in found]:
        raise ValueError(f"{folder} lacks {_some(missing)}")
    if unexpected := [name for name in found if name not in shapes]:
        raise ValueError(f"{folder} has what the model has not: {_some(unexpected)}")
    for name, tensor in found.items():
        if tensor.shape != shapes[name]:
            raise ValueError(
                f"{name} in {tensor.path} has shape {tensor.shape}, not {shapes[name]}"
            )
        if tensor.dtype not in FLOATS:
            raise ValueError(f"{name} in {tensor.path} is {tensor.dtype}, not of floating point")


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
