"""A checkpoint's files, read without torch: where they are, and what makes it this checkpoint."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmbench.backends import diagnosis
from vlmbench.backends.notices import Notices
from vlmbench.backends.settings import Settings
from vlmbench.backends.weights import tensors_of
from vlmbench.errors import VlmbenchError, hub_reason
from vlmbench.schema import Json

SMALL_FILES = (
    *("config.json", "generation_config.json", "*processor_config.json", "chat_template*"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt"),
    *("*.model", "*.tiktoken", "*.safetensors.index.json", diagnosis.ADAPTER),
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
        return diagnosis.read(self.folder / "config.json")

    @property
    def dtype(self) -> str:
        """As the config names it, which every release of transformers has written; or float32."""
        config = self.config
        named = config.get("dtype") or config.get("torch_dtype")
        return named.removeprefix("torch.") if isinstance(named, str) else "float32"

    @property
    def splits_images(self) -> bool | None:
        """Whether its processor cuts pictures in parts; None if its files do not say."""
        return self._of_processor("do_image_splitting")

    @property
    def transparency(self) -> str:
        """What becomes of transparent parts of pictures, by the files of its image processor."""
        is_converted = self._of_processor("do_convert_rgb")
        return {True: "on white", False: "dropped", None: "as its class has it"}[is_converted]

    @property
    def is_bare(self) -> bool:
        """It has no chat template, so that its prompts are bare text, as for a base model."""
        return diagnosis.chat_template(self.folder) is None

    @property
    def has_adapter(self) -> bool:
        """It has an adapter beside its whole weights, which transformers adds to them."""
        return (self.folder / diagnosis.ADAPTER).is_file()

    def _of_processor(self, name: str) -> bool | None:
        for path in (self.folder / file for file in diagnosis.PROCESSORS):
            if path.is_file():
                content = diagnosis.read(path)
                content = content.get("image_processor") or content
                if isinstance(value := content.get(name), bool):
                    return value
        return None


def check(argument: str) -> None:
    """Raises: VlmbenchError if the argument is no bundled checkpoint, no folder and no hub id."""
    folder = folder_of(argument)
    if folder.is_dir():
        diagnosis.check_folder(folder)
        diagnosis.read(folder / "config.json")
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
        raise VlmbenchError(
            f"{argument} is no folder, nor to be had from the hub: {hub_reason(error)}"
        ) from error
    return Checkpoint(name, name, Path(path), Path(path).name)


def identity(backend: str, argument: str, settings: Settings) -> dict[str, Json]:
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
        "transparency": checkpoint.transparency,
        **_unusual(checkpoint, settings),
        **sampling(settings),
    }


def _unusual(checkpoint: Checkpoint, settings: Settings) -> dict[str, Json]:
    """What most checkpoints and runs do not have."""
    found: dict[str, Json] = {}
    if checkpoint.is_bare:
        found["prompts"] = "bare: the checkpoint has no chat template"
    if checkpoint.has_adapter:
        paths = sorted(checkpoint.folder.glob("adapter_model*"))
        found["adapter"] = _digest_of(paths)
    if settings.trust_remote_code:
        found["remote_code"] = _digest_of(sorted(checkpoint.folder.glob("*.py")))
    given = {"max_side": settings.max_side, "system": settings.system}
    return found | {name: value for name, value in given.items() if value is not None}


def _digest_of(paths: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path in paths:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, hashlib.blake2b).digest()
        digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()


def tell(found: Checkpoint, notices: Notices, is_bare: bool) -> None:
    """What a user may not know of a checkpoint and its answers."""
    if is_bare:
        notices.tell(
            f"{found.name} has no chat template, so prompts are bare text, as for a base model; if "
            "it was taught to chat, put its chat_template.jinja into the folder"
        )
    if found.has_adapter:
        notices.tell(f"{found.name} has an adapter beside its weights, which is applied to them")


def sampling(settings: Settings) -> dict[str, Json]:
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
    tensors = sorted(tensors_of(folder), key=lambda tensor: tensor.name)
    is_whole = sum(tensor.size for tensor in tensors) <= WHOLE_BYTES
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for tensor in tensors:
        digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape} {tensor.size}\n".encode())
        for part in tensor.parts(is_whole):
            digest.update(part)
    return digest.hexdigest()
