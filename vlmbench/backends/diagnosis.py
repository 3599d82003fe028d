"""What a checkpoint's folder lacks, told with the way out; read without torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vlmbench import files
from vlmbench.backends.weight_files import ADAPTER_CONFIG, check_fetched, read_json
from vlmbench.errors import VlmbenchError

MAX_STEPS = 3
"""Checkpoints of a training that a message names."""


def check_folder(folder: Path) -> None:
    """Raises: VlmbenchError for a folder that is no checkpoint, as far as names tell."""
    if not any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        steps = [path.parent for path in folder.glob("checkpoint-*/config.json")]
        if steps:
            steps.sort(key=lambda step: (len(step.name), step.name), reverse=True)
            named = " or ".join(str(step) for step in steps[:MAX_STEPS])
            raise VlmbenchError(f"{folder} has no config.json; its checkpoints have: give {named}")
        raise VlmbenchError(f"{folder} is no checkpoint's folder: it has no config.json")
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        check_fetched(path)
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    path = folder / (ADAPTER_CONFIG if is_adapter else "config.json")
    check_numbers(read_json(path), path)


MAX_LAYERS = 10_000
MAX_NUMBER = 10**18


def check_numbers(config: object, path: Path) -> None:
    """Raises: VlmbenchError for numbers that no model has: a loader would make each layer first."""
    parts: list[tuple[str, object]] = [("", config)]
    while parts:
        name, value = parts.pop()
        if isinstance(value, dict):
            parts += [(str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            parts += [(name, inner) for inner in value]
        elif isinstance(value, int):
            is_count = re.search(r"(?:layer|depth|block|expert)s?$", name) is not None
            if abs(value) > (MAX_LAYERS if is_count else MAX_NUMBER):
                shown = f"{value:,}" if abs(value) <= MAX_NUMBER else "a number of many digits"
                raise VlmbenchError(f"{path}: {name} is {shown}, which no model has")


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


def _content(path: Path) -> dict[str, Any]:
    """Empty where there is no JSON object: who needs the file says so."""
    try:
        content = files.json_of(path)
    except (VlmbenchError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
