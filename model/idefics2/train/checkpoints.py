"""Files of a training on disk.

    OUT/recipe.json                       all settings, to refuse going on with others
    OUT/log.jsonl                         see `log`
    OUT/checkpoints/STAGE-STEP/state.pt   trained parameters, optimiser, step
    OUT/checkpoints/STAGE-STEP/model/     a checkpoint to load; not if sharded or with adapters
    OUT/stages/NAME/                      the model at the end of a stage, adapters merged

Files are written under temporary names and renamed: a kill at any moment costs the steps since the
last checkpoint and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from idefics2.config_format import read
from idefics2.model import Idefics2
from idefics2.weights import save_model

PROCESSOR_FILES = ("*token*.json", "*processor_config.json", "generation_config.json", "chat_*")


class Saved(NamedTuple):
    """A checkpoint on disk."""

    folder: Path
    stage_index: int
    step: int


class Folder:
    """The folder of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log.jsonl"

    def claim(self, settings: Any) -> None:
        """Records the settings in the folder.

        Raises: ValueError if it holds a training with other settings, or somebody else's files
        under the names of a training's.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / "recipe.json"
        for name in ("recipe.json", "log.jsonl", "checkpoints", "stages"):
            found = self.path / name
            is_linked_file = found.is_symlink() and found.suffix != ""
            if is_linked_file or (found.exists() and not path.exists()):
                raise ValueError(f"{found} is not of a training here; name another folder")
        text = json.dumps(settings, indent=1) + "\n"
        if path.exists():
            before = json.loads(path.read_text("utf-8"))
            if difference := _difference(before, json.loads(text)):
                raise ValueError(
                    f"{self.path} has a training with other settings: {difference}; "
                    "go on with the same, or name another folder"
                )
            return
        with _replacing(path) as new:
            new.write_text(text, "utf-8")

    def stage(self, name: str) -> Path:
        """The folder of a finished stage's model."""
        return self.path / "stages" / name

    def saved(self) -> list[Saved]:
        """All checkpoints, the latest last."""
        found = []
        for folder in (self.path / "checkpoints").glob("*-*"):
            stage_index, _, step = folder.name.partition("-")
            if stage_index.isdigit() and step.isdigit():
                found.append(Saved(folder, int(stage_index), int(step)))
        return sorted(found, key=lambda saved: saved[1:])

    def save(
        self, stage_index: int, step: int, state: Any, model: Idefics2 | None, origin: Path
    ) -> None:
        """Writes a checkpoint; `origin` has the processor's files."""
        folder = self.path / "checkpoints" / f"{stage_index}-{step:07}"
        with _replacing(folder) as new:
            new.mkdir(parents=True)
            torch.save(state, new / "state.pt")
            if model is not None:
                export(model, new / "model", origin)

    def keep_last(self, count: int) -> None:
        """Removes all but the last `count` checkpoints."""
        for saved in self.saved()[:-count]:
            shutil.rmtree(saved.folder)

    def finish(self, name: str, model: Idefics2, origin: Path) -> None:
        """Writes the model of a finished stage."""
        with _replacing(self.stage(name)) as new:
            export(model, new, origin)


def load_state(saved: Saved) -> Any:
    """The state that was given to `save`."""
    return torch.load(saved.folder / "state.pt", map_location="cpu", weights_only=True)


def export(model: Idefics2, folder: Path, origin: Path) -> None:
    """Writes a checkpoint that `idefics2.load` reads; `origin` has the processor's files.

    It names the transformers version of that one, whose token ids the model was trained on.
    """
    save_model(model, folder)
    if (origin / "config.json").exists():
        version = read(origin / "config.json").get("transformers_version")
        content = read(folder / "config.json")
        if version is not None:
            text = json.dumps(content | {"transformers_version": version}, indent=2)
            (folder / "config.json").write_text(text + "\n", "utf-8")
    for pattern in PROCESSOR_FILES:
        for path in origin.glob(pattern):
            shutil.copyfile(path, folder / path.name)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path that is renamed to `path` once all of it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    if new.is_dir():
        shutil.rmtree(new)
    yield new
    for file in [new, *new.rglob("*")]:
        _to_disk(file)
    if path.is_dir():
        shutil.rmtree(path)
    new.rename(path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _difference(before: Any, now: Any, where: str = "") -> str:
    """The first setting in which two descriptions differ; empty: none.

    Settings that only one version of this code knows are not compared.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        shared = [key for key in before if key in now]
        pairs = [(f"{where}.{key}".lstrip("."), before[key], now[key]) for key in shared]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{where}[{i}]", *pair) for i, pair in enumerate(zip(before, now, strict=True))]
    else:
        was, is_now = (textwrap.shorten(repr(value), 60) for value in (before, now))
        return "" if before == now else f"{where} was {was} and is {is_now}"
    return next((found for name, a, b in pairs if (found := _difference(a, b, name))), "")
