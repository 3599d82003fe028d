"""A checkpoint's files, read without torch: where they are, and what makes it this checkpoint."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vlmbench.backends.settings import LocalSettings, SamplingSettings
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json

SMALL_FILES = (
    *("config.json", "generation_config.json", "*processor_config.json", "chat_template*"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt"),
    *("*.model", "*.tiktoken", "*.safetensors.index.json"),
)
"""All but the weights that can change an answer, and where the weights are."""

HUB_ID = re.compile(r"(\w[\w.-]*/[\w.-]+)(?:@([\w./-]+))?")

BUNDLED = ("tiny",)
"""Names of checkpoints that come with vlmbench; a folder of that name is "./tiny"."""

_CHECKOUT = Path(__file__).parents[2] / "model" / "checkpoints"
_PACKAGED = Path(__file__).parents[1] / "_checkpoints"  # in a wheel

DIGEST_BYTES = 16
WHOLE_BYTES = 2**26
"""Weights up to this size are read whole for their digest."""

SAMPLE_BYTES = 2**12
"""Of larger ones so much in every `STRIDE_BYTES` of a tensor, and at both of its ends."""

STRIDE_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose small files are on this machine."""

    name: str
    """As the user gave it, less a revision."""

    source: str
    """What its weights are loaded from: the folder, or the hub id."""

    folder: Path
    revision: str
    """Commit on the hub; empty for a folder."""

    @property
    def config(self) -> dict[str, Any]:
        """Raises: VlmbenchError if there is no `config.json` to read."""
        return _read(self.folder / "config.json")

    @property
    def dtype(self) -> str:
        """As the config names it, which every release of transformers has written; or float32."""
        config = self.config
        named = config.get("dtype") or config.get("torch_dtype")
        return named if isinstance(named, str) else "float32"

    @property
    def splits_images(self) -> bool | None:
        """Whether its processor cuts pictures in parts; None if its files do not say."""
        for name in ("processor_config.json", "preprocessor_config.json"):
            if (self.folder / name).is_file():
                content = _read(self.folder / name)
                content = content.get("image_processor") or content
                if isinstance(splits := content.get("do_image_splitting"), bool):
                    return splits
        return None


def check(argument: str) -> None:
    """Raises: VlmbenchError if the argument is no bundled checkpoint, no folder and no hub id."""
    folder = folder_of(argument)
    if folder.is_dir():
        _read(folder / "config.json")
    elif not HUB_ID.fullmatch(argument):
        raise VlmbenchError(
            f"no folder {argument!r}; a checkpoint on the hub is OWNER/NAME or "
            f"OWNER/NAME@REVISION, and bundled is: {', '.join(BUNDLED)}"
        )


def folder_of(argument: str) -> Path:
    """Where the checkpoint is if it is on this machine: bundled, or a folder."""
    if argument not in BUNDLED:
        return Path(argument).expanduser()
    return (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT) / argument


def find(argument: str) -> Checkpoint:
    """A bundled checkpoint, that of a folder, or of a hub id after downloading its small files.

    Raises: VlmbenchError if there is none.
    """
    check(argument)
    folder, match = folder_of(argument), HUB_ID.fullmatch(argument)
    if folder.is_dir() or match is None:
        return Checkpoint(argument, str(folder), folder, "")
    from huggingface_hub import snapshot_download

    name, revision = match.groups()
    try:
        path = snapshot_download(name, revision=revision, allow_patterns=list(SMALL_FILES))
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise VlmbenchError(
            f"{argument} is no folder, nor to be had from the hub: {reason}"
        ) from error
    return Checkpoint(name, name, Path(path), Path(path).name)


def identity(backend: str, argument: str, settings: LocalSettings) -> dict[str, Json]:
    """What must be equal for a run to be resumed; the weights are not loaded.

    Those of a hub checkpoint are told by its commit, and need not be on this machine. A dtype of
    "auto" stays so: what it comes to depends on the device, and stands in the probe.

    Raises: VlmbenchError as `find` does, and for a folder without weights.
    """
    checkpoint = find(argument)
    splits = settings.split_images
    return {
        "spec": f"{backend}:{argument}",
        "revision": checkpoint.revision,
        "weights": "" if checkpoint.revision else weights_digest(checkpoint.folder),
        "files": files_digest(checkpoint.folder),
        "dtype": settings.dtype,
        "split_images": checkpoint.splits_images if splits is None else splits,
        **sampling(settings),
    }


def sampling(settings: SamplingSettings) -> dict[str, Json]:
    """How tokens are chosen; greedy decoding has neither nucleus nor seed."""
    if settings.temperature == 0:
        return {"temperature": 0.0}
    return {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
    }


def files_digest(folder: Path) -> str:
    """Of the names and contents of config, tokenizer, processor and chat template."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    found = {path for pattern in SMALL_FILES for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(found):
        if not path.name.endswith(".index.json"):  # how the weights are cut into files
            content = hashlib.blake2b(path.read_bytes()).digest()
            digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()


def weights_digest(folder: Path) -> str:
    """Equal for equal weights, however they are cut into safetensors files.

    Of every tensor its name, dtype, shape and values. Above `WHOLE_BYTES` in all, samples stand
    for a tensor's values: training moves those too, a patch of a single value may not.

    Raises: VlmbenchError for a folder without weights, or with files that are cut short.
    """
    tensors = sorted(_tensors(folder), key=lambda tensor: tensor.name)
    is_whole = sum(tensor.size for tensor in tensors) <= WHOLE_BYTES
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for tensor in tensors:
        digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape} {tensor.size}\n".encode())
        for part in tensor.parts(is_whole):
            digest.update(part)
    return digest.hexdigest()


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
    """Of the safetensors files that are loaded; other formats count a file as one tensor."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = _read(index).get("weight_map")
        names = set(weight_map.values()) if isinstance(weight_map, Mapping) else set()
        paths = sorted(folder / str(name) for name in names)
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
    """From the header: its length in 8 bytes, then JSON, then the tensors' bytes."""
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
            yield _Tensor(name, entry["dtype"], shape, path, start + first, last - first)
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise VlmbenchError(f"{path} is no whole safetensors file: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise VlmbenchError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise VlmbenchError(f"{path} holds no JSON object")
    return content
