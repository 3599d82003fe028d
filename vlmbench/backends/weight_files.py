"""Weights and small files of a checkpoint's folder, read without torch: what makes them these."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vlmbench import files
from vlmbench.errors import VlmbenchError

INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

GIT_LFS = b"version https://git-lfs.github.com/spec/"
"""What Git leaves in place of a large file that was not fetched begins so."""

DIGEST_BYTES = 16
WHOLE_BYTES = 2**26
"""Weights up to this size are read whole for their digest."""

SAMPLE_BYTES = 2**12
"""Bytes read per `STRIDE_BYTES` of a tensor, and at its ends, if above `WHOLE_BYTES`."""

STRIDE_BYTES = 2**24

MAX_HEADER = 100_000_000
"""Bytes; the safetensors library refuses a longer one."""


def weights_digest(folder: Path) -> str:
    """Equal for equal weights, however they are cut into safetensors files.

    Of every tensor its name, dtype, shape and values. Above `WHOLE_BYTES` in all, samples stand
    for a tensor's values: training moves those too, a patch of a single value may not.

    Raises: VlmbenchError for a folder without weights, or with files that are cut short.
    """
    return _digest(_tensors(folder)).hexdigest()


def adapter_digest(folder: Path) -> str:
    """The same of an adapter's tensors, and of its config.

    Raises: VlmbenchError for files that are missing or cut short.
    """
    digest = _digest(_tensors_of(folder / ADAPTER_WEIGHTS))
    digest.update(json.dumps(read_json(folder / ADAPTER_CONFIG), sort_keys=True).encode())
    return digest.hexdigest()


QUANTISED = {
    **{".absmax": "bitsandbytes", ".quant_map": "bitsandbytes", ".SCB": "bitsandbytes"},
    **{".qweight": "AWQ or GPTQ", ".qzeros": "AWQ or GPTQ"},
    **{".weight_packed": "compressed-tensors", ".weight_scale": "a scale to each weight"},
}
"""How names of tensors end that only a quantised model has, and by what it was quantised."""


def quantisation(folder: Path) -> str:
    """By what the weights are quantised, as their names tell; empty: they are not.

    Raises: VlmbenchError as `weights_digest` does.
    """
    names = (tensor.name for tensor in _tensors(folder))
    return next((how for name in names for end, how in QUANTISED.items() if name.endswith(end)), "")


def has_weights(folder: Path) -> bool:
    """True if a folder has weights of a whole model."""
    patterns = ("model*.safetensors", "pytorch_model*.bin", INDEX)
    return any(any(folder.glob(pattern)) for pattern in patterns)


def _digest(found: Iterator[_Tensor]) -> hashlib.blake2b:
    tensors = sorted(found, key=lambda tensor: tensor.name)
    is_whole = sum(tensor.size for tensor in tensors) <= WHOLE_BYTES
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for tensor in tensors:
        digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape} {tensor.size}\n".encode())
        for part in tensor.parts(is_whole):
            digest.update(part)
    return digest


class _Tensor(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    size: int

    def parts(self, is_whole: bool) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            if is_whole or self.size <= 2 * SAMPLE_BYTES:
                file.seek(self.start)
                yield file.read(self.size)
                return
            last = self.size - SAMPLE_BYTES
            for start in (*range(0, last, STRIDE_BYTES), last):
                file.seek(self.start + start)
                yield file.read(SAMPLE_BYTES)


def _tensors(folder: Path) -> Iterator[_Tensor]:
    """Tensors of the safetensors files loaded; other formats count a file as one tensor."""
    index = folder / INDEX
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        names = set(weight_map.values()) if isinstance(weight_map, Mapping) else set()
        if outside := sorted(str(name) for name in names if Path(str(name)).name != name):
            raise VlmbenchError(f"{index} names {outside[0]!r}, outside of its folder")
        paths = sorted(folder / str(name) for name in names)
        if missing := [path for path in paths if not path.is_file()]:
            raise VlmbenchError(f"cannot read {missing[0]}, which {INDEX} names: no such file")
    else:
        paths = sorted(folder.glob("model*.safetensors"))
    for path in paths:
        yield from _tensors_of(path)
    if not paths:
        others = sorted(folder.glob("pytorch_model*.bin"))
        if not others:
            raise VlmbenchError(f"{folder} has no weights (model*.safetensors)")
        for path in others:
            yield _Tensor(path.name, "", (), path, 0, path.stat().st_size)


def _tensors_of(path: Path) -> Iterator[_Tensor]:
    """Tensors by a file's header: its length in 8 bytes, JSON, then tensor bytes."""
    check_fetched(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            if size < 8 or (start > size and start - 8 <= MAX_HEADER):
                raise ValueError(f"it is cut short: {size:,} bytes; get it again")
            if start - 8 > MAX_HEADER:
                raise ValueError("its header is no header of safetensors")
            header: Any = json.loads(file.read(start - 8))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            if not 0 <= first <= last <= size - start:
                raise ValueError(f"{name} is cut short; get it again")
            shape = tuple(entry["shape"])
            yield _Tensor(name, entry["dtype"], shape, path, start + first, last - first)
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise VlmbenchError(f"{path} is no whole safetensors file: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Raises: VlmbenchError for a file that is not there, or holds no JSON object."""
    check_fetched(path)
    try:
        content = files.json_of(path)
    except ValueError as error:
        raise VlmbenchError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise VlmbenchError(f"{path} holds no JSON object")
    return content


def check_fetched(path: Path) -> None:
    """Raises: VlmbenchError for a Git-LFS pointer."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(GIT_LFS)) == GIT_LFS:
                raise VlmbenchError(
                    f"{path} is a Git-LFS pointer, not the file: get that with `git lfs pull`"
                )
