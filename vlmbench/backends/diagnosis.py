"""What a checkpoint's folder lacks, told with the way out; read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlmbench.errors import VlmbenchError

TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "*.model", "vocab.*", "*.tiktoken", "tekken.json"),
    "*vocab*.json",
)
"""Files of which a tokenizer has at least one."""

PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""Files that say how pictures are prepared; the first is the newer one."""

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")

ADAPTER = "adapter_config.json"

POINTER = b"version https://git-lfs"
"""How the small files begin that stand for large ones where git-lfs did not run."""


def check_folder(folder: Path) -> None:
    """Raises: VlmbenchError for a folder that is no whole checkpoint, as far as names tell."""
    if not (folder / "config.json").is_file():
        if (folder / ADAPTER).is_file():
            raise _is_adapter(folder)
        steps = [path.parent for path in folder.glob("checkpoint-*/config.json")]
        if steps:
            steps.sort(key=lambda step: (len(step.name), step.name), reverse=True)
            named = " or ".join(str(step) for step in steps[:3])
            raise VlmbenchError(f"{folder} has no config.json; its checkpoints have: give {named}")
        raise VlmbenchError(f"{folder} is no checkpoint's folder: it has no config.json")
    if (folder / ADAPTER).is_file() and not _has(folder, WEIGHTS):
        raise _is_adapter(folder)
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        check_pointer(path)


def check_pointer(path: Path) -> None:
    """Raises: VlmbenchError for a file that stands for one which git-lfs has not fetched."""
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise VlmbenchError(
                f"{path} is a git-lfs pointer, not the file: run `git lfs pull` in {path.parent}"
            )


def check_processor(folder: Path) -> None:
    """Raises: VlmbenchError where texts or pictures cannot be prepared by the folder's files."""
    if not _has(folder, TOKENIZERS):
        raise _lacks(folder, "tokenizer", "tokenizer.json, tokenizer_config.json")
    if not _has(folder, PROCESSORS):
        raise _lacks(folder, "image processor", "preprocessor_config.json")


def chat_template(folder: Path) -> str | None:
    """The chat template from wherever transformers looks for one, the latest place first."""
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text("utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        found = _content(folder / name).get("chat_template")
        if isinstance(found, list):  # several, by name
            named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
            found = named.get("default")
        if isinstance(found, str):
            return found
    return None


def _has(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))


def _lacks(folder: Path, what: str, files: str) -> VlmbenchError:
    return VlmbenchError(
        f"{folder} has no {what}: copy its files ({files}) from the checkpoint it was trained from"
    )


def _is_adapter(folder: Path) -> VlmbenchError:
    base = _content(folder / ADAPTER).get("base_model_name_or_path") or "its base"
    return VlmbenchError(
        f"{folder} is an adapter of {base}, not a whole checkpoint: merge the two (peft's "
        "merge_and_unload, then save_pretrained of model and processor) and give that folder"
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read(path: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises: VlmbenchError if it cannot be read, or holds none.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise VlmbenchError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise VlmbenchError(f"{path} holds no JSON object")
    return content
