"""The tensors of a checkpoint's files, read from their headers without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vlmbench.backends import diagnosis
from vlmbench.errors import VlmbenchError

SAMPLE_BYTES = 2**12
"""Of larger ones so much in every `STRIDE_BYTES` of a tensor, and at both of its ends."""

STRIDE_BYTES = 2**24


class Tensor(NamedTuple):
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


def tensors_of(folder: Path) -> Iterator[Tensor]:
    """Of the safetensors files that are loaded; other formats count a file as one tensor."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = diagnosis.read(index).get("weight_map")
        names = set(weight_map.values()) if isinstance(weight_map, Mapping) else set()
        paths = sorted(folder / str(name) for name in names)
    else:
        paths = sorted(folder.glob("model*.safetensors"))
    for path in paths:
        yield from _of_file(path)
    if not paths:
        others = sorted(folder.glob("pytorch_model*.bin"))
        if not others:
            raise VlmbenchError(f"{folder} has no weights (model*.safetensors)")
        for path in others:
            yield Tensor(path.name, "", (), path, 0, path.stat().st_size)


def _of_file(path: Path) -> Iterator[Tensor]:
    """From the header: its length in 8 bytes, then JSON, then the tensors' bytes."""
    diagnosis.check_pointer(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header: Any = json.loads(file.read(start - 8)) if start <= size else None
        header.pop("__metadata__", None)
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            if not 0 <= first <= last <= size - start:
                raise ValueError(f"{name} is cut short")
            shape = tuple(entry["shape"])
            yield Tensor(name, entry["dtype"], shape, path, start + first, last - first)
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise VlmbenchError(f"{path} is no whole safetensors file: {error}") from error
