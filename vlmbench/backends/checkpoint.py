"""A checkpoint's files, read without torch: where they are, and what makes it this checkpoint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmbench.backends import diagnosis
from vlmbench.backends.notices import Notices
from vlmbench.backends.settings import LocalSettings, SamplingSettings, TransformersSettings
from vlmbench.backends.weight_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    DIGEST_BYTES,
    adapter_digest,
    has_weights,
    read_json,
    weights_digest,
)
from vlmbench.errors import VlmbenchError, hub_reason
from vlmbench.schema import Json

SMALL_FILES = (
    *("config.json", "generation_config.json", "*processor_config.json", "chat_template*"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt"),
    *("*.model", "*.tiktoken", "*.safetensors.index.json", ADAPTER_CONFIG),
)
"""All but the weights that can change an answer, and where the weights are."""

CODE = "*.py"
"""What a checkpoint of an architecture of its own brings along."""

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")

HUB_ID = re.compile(r"(\w[\w.-]*/[\w.-]+)(?:@([\w./-]+))?")

BUNDLED = ("tiny",)
"""Names of checkpoints that come with vlmbench; a folder of that name is "./tiny"."""

_CHECKOUT = Path(__file__).parents[2] / "model" / "checkpoints"
_PACKAGED = Path(__file__).parents[1] / "_checkpoints"  # in a wheel


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose small files are on this machine."""

    name: str
    """Name from the user, less a revision."""

    source: str
    """What its weights are loaded from: the folder, or the hub id."""

    folder: Path
    revision: str
    """Commit on the hub; empty for a folder."""

    processor: Path
    """Folder of tokenizer, image processor and chat template."""

    adapter: Path | None = None
    """Folder of an adapter that is to be merged into the weights."""

    @property
    def config(self) -> dict[str, Any]:
        """Raises: VlmbenchError if there is no `config.json` to read."""
        path = self.folder / "config.json"
        content = read_json(path)
        diagnosis.check_numbers(content, path)
        return content

    @property
    def splits_images(self) -> bool | None:
        """True if the processor cuts pictures in parts; None if its files do not say."""
        return self._of_processor("do_image_splitting")

    @property
    def drops_alpha(self) -> bool:
        """True if the processor takes pictures as they are, transparent parts as if opaque."""
        return self._of_processor("do_convert_rgb") is False

    @property
    def is_bare(self) -> bool:
        """It has no chat template, so that its prompts are bare text, as for a base model."""
        return diagnosis.chat_template(self.processor) is None

    def _of_processor(self, name: str) -> bool | None:
        for file in ("processor_config.json", "preprocessor_config.json"):
            if (self.processor / file).is_file():
                content = read_json(self.processor / file)
                content = content.get("image_processor") or content
                if isinstance(value := content.get(name), bool):
                    return value
        return None

    @property
    def adapted(self) -> dict[str, Json]:
        """What a run records of an adapter: where it is, and of which base model it is one."""
        if self.adapter is None:
            return {}
        return {"adapter": str(self.adapter), "base": self.source}

    @property
    def weights_digest(self) -> str:
        """Digest of weights, then of an adapter after "+".

        Raises: VlmbenchError as `weight_files` does.
        """
        adapter = "" if self.adapter is None else f"+{adapter_digest(self.adapter)}"
        return weights_digest(self.folder) + adapter

    @property
    def files_digest(self) -> str:
        """Digest of names and contents of config, tokenizer, processor, chat template."""
        return _files_digest(dict.fromkeys((self.folder, self.processor)), SMALL_FILES)

    @property
    def code_digest(self) -> str:
        """Digest of the checkpoint's Python files."""
        return _files_digest([self.folder], [CODE])


def check(argument: str) -> None:
    """Raises: VlmbenchError if the argument is no bundled checkpoint, no folder and no hub id."""
    folder = folder_of(argument)
    if folder.is_dir():
        diagnosis.check_folder(folder)
    elif not HUB_ID.fullmatch(argument):
        raise _nowhere(argument)


def _nowhere(argument: str) -> VlmbenchError:
    return VlmbenchError(
        f"no folder {argument!r}; a checkpoint on the hub is OWNER/NAME or OWNER/NAME@REVISION, "
        f"and bundled is: {', '.join(BUNDLED)}"
    )


def folder_of(argument: str) -> Path:
    """Path of the checkpoint if it is on this machine: bundled, or a folder."""
    if argument not in BUNDLED:
        return Path(argument).expanduser()
    return (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT) / argument


def find(argument: str, settings: LocalSettings | None = None) -> Checkpoint:
    """A bundled checkpoint, that of a folder, or of a hub id after downloading its small files.

    With the adapter and the processor that the settings name; an adapter in the checkpoint's own
    folder counts too, and names the base model where the folder has no weights.

    Raises: VlmbenchError if there is none.
    """
    settings = settings or LocalSettings()
    check(argument)
    trusts_code = isinstance(settings, TransformersSettings) and settings.trust_remote_code
    found = _found(argument, *([CODE] if trusts_code else []))
    adapter = None if settings.adapter is None else _adapter(settings.adapter)
    if adapter is None and (found.folder / ADAPTER_CONFIG).is_file():
        adapter = _adapter(argument)
        if not has_weights(found.folder):
            found = _base(argument, adapter)
    processor = found.folder
    if settings.processor is not None:
        processor = _found(settings.processor).folder
    elif adapter is not None and all((adapter / name).is_file() for name in TOKENIZER):
        processor = adapter
    return replace(found, adapter=adapter, processor=processor)


def _found(argument: str, *patterns: str) -> Checkpoint:
    """A folder as it is, or what a hub id's small files and `patterns` are."""
    folder, match = folder_of(argument), HUB_ID.fullmatch(argument)
    if folder.is_dir() or match is None:
        if not folder.is_dir():
            raise _nowhere(argument)
        return Checkpoint(argument, str(folder), folder, "", folder)
    from huggingface_hub import snapshot_download

    name, revision = match.groups()
    try:
        path = snapshot_download(name, revision=revision, allow_patterns=[*SMALL_FILES, *patterns])
    except (OSError, ValueError) as error:
        raise VlmbenchError(
            f"{argument} is no folder, nor to be had from the hub: {hub_reason(error)}"
        ) from error
    return Checkpoint(name, name, Path(path), Path(path).name, Path(path))


def _adapter(argument: str) -> Path:
    """The folder of an adapter, with its weights, and those of a model beside it."""
    folder = _found(argument, ADAPTER_WEIGHTS, "model.safetensors").folder
    if not (folder / ADAPTER_CONFIG).is_file():
        raise VlmbenchError(f"{argument} has no {ADAPTER_CONFIG}: it holds no adapter")
    return folder


def _base(argument: str, adapter: Path) -> Checkpoint:
    """The checkpoint that an adapter was trained on, under the adapter's name."""
    content = read_json(adapter / ADAPTER_CONFIG)
    base, revision = content.get("base_model_name_or_path"), content.get("revision")
    if not isinstance(base, str) or not base:
        raise VlmbenchError(
            f"{argument} is an adapter that does not name its base model: name that as the model, "
            f"with --adapter {argument}"
        )
    if isinstance(revision, str) and revision and not folder_of(base).is_dir():
        base = f"{base}@{revision}"
    try:
        return replace(_found(base), name=argument)
    except VlmbenchError as error:
        raise VlmbenchError(
            f"the base model of {argument}: {error}; if you have it elsewhere, name that as the "
            f"model, with --adapter {argument}"
        ) from error


def identity(backend: str, argument: str, settings: LocalSettings) -> dict[str, Json]:
    """What must be equal for a run to be resumed; the weights are not loaded.

    Those of a hub checkpoint are told by its commit, and need not be on this machine. A dtype of
    "auto" stays so: what it comes to depends on the device, and stands in the probe.

    Raises: VlmbenchError as `find` does, and for a folder without weights.
    """
    checkpoint = find(argument, settings)
    splits, adapter = settings.split_images, checkpoint.adapter
    return {
        "spec": f"{backend}:{argument}",
        "revision": checkpoint.revision,
        "weights": "" if checkpoint.revision else weights_digest(checkpoint.folder),
        **({} if adapter is None else {"adapter": adapter_digest(adapter)}),
        "files": checkpoint.files_digest,
        "dtype": settings.dtype,
        "split_images": checkpoint.splits_images if splits is None else splits,
        **_unusual(checkpoint, settings),
        **sampling(settings),
    }


def _unusual(checkpoint: Checkpoint, settings: LocalSettings) -> dict[str, Json]:
    """What most checkpoints and runs do not have."""
    found: dict[str, Json] = {}
    if checkpoint.is_bare:
        found["prompts"] = "bare: the checkpoint has no chat template"
    if checkpoint.drops_alpha:
        found["transparency"] = "dropped"
    if settings.max_side is not None:
        found["max_side"] = settings.max_side
    return found


def tell(found: Checkpoint, notices: Notices, *, is_bare: bool) -> None:
    """What a user may not know of a checkpoint and its answers."""
    if is_bare:
        notices.tell(
            f"{found.name} has no chat template, so prompts are bare text, as for a base model; if "
            "it was taught to chat, put its chat_template.jinja into the folder"
        )
    if found.adapter == found.folder:
        notices.tell(f"{found.name} has an adapter beside its weights, which is applied to them")


def sampling(settings: SamplingSettings) -> dict[str, Json]:
    """How tokens are chosen; greedy decoding has neither nucleus nor seed."""
    if settings.temperature == 0:
        return {"temperature": 0.0}
    return {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
    }


def _files_digest(folders: Iterable[Path], patterns: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for folder in folders:
        found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
        for path in sorted(found):
            # an index is how the weights are cut into files; an adapter has its own digest
            if not path.name.endswith(".index.json") and path.name != ADAPTER_CONFIG:
                content = hashlib.blake2b(path.read_bytes()).digest()
                digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()
