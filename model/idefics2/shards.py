"""Places of a checkpoint's tensors: its safetensors files, from their headers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from idefics2.config_format import read
from idefics2.files import reason

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"
WRAPPERS = ("base_model.model.", "module.", "_orig_mod.")
"""What peft, DistributedDataParallel and torch.compile put before every name."""


class Found(NamedTuple):
    """A tensor in a file."""

    path: Path
    key: str
    """Its name there."""
    shape: tuple[int, ...]
    dtype: str


def find(folder: Path) -> dict[str, Found]:
    """All tensors of a folder, by their names in the model.

    Raises: ValueError naming the file that is missing or damaged, or a tensor that is there twice.
    """
    found: dict[str, Found] = {}
    for file in _files(folder):
        path = folder / file
        if not path.is_file():
            raise ValueError(f"cannot read {path}, which {INDEX} names: there is no such file")
        for name, tensor in headers_of(path).items():
            if name in found:
                raise ValueError(f"{name} is in {found[name].path} and in {path}")
            found[name] = tensor
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in found):
            found = {name.removeprefix(wrapper): tensor for name, tensor in found.items()}
    return found


def has_weights(folder: Path) -> bool:
    """True if a folder has a file of weights, of any format."""
    names = (SINGLE, INDEX, SHARDS, "pytorch_model*.bin")
    return any(any(folder.glob(name)) for name in names)


def _files(folder: Path) -> list[str]:
    """Names of the files with the weights: as the index has them, or all shards, or the one."""
    if (folder / INDEX).is_file():
        weight_map = read(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError(f"{folder / INDEX} has no weight_map")
        files = sorted({str(file) for file in weight_map.values()})
        if outside := [file for file in files if Path(file).name != file]:
            raise ValueError(f"{folder / INDEX} names {outside[0]!r}, outside its folder")
        return files
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if shards := sorted(path.name for path in folder.glob(SHARDS)):
        return shards
    hint = ""
    if any(folder.glob("pytorch_model*.bin")):
        hint = (
            "; its pytorch_model.bin is a pickle: load it with transformers, whose save_pretrained "
            "writes safetensors"
        )
    raise ValueError(f"{folder} has neither {SINGLE} nor {INDEX}{hint}; nothing else is read")


def headers_of(path: Path) -> dict[str, Found]:
    """All tensors of a file.

    Raises: ValueError for a file that is damaged or not there.
    """
    with opened(path) as shard:
        headers = {name: shard.get_slice(name) for name in sorted(shard.keys())}
        return {
            name: Found(path, name, tuple(header.get_shape()), header.get_dtype())
            for name, header in headers.items()
        }


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file; what fails while it is open is a ValueError with its name."""
    try:
        with safe_open(path, framework="pt") as shard:
            yield shard
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {path}: {reason(path, error)}") from error
