"""Drawn scenes as one parquet file, typed as the hub's."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from vlmbench.data.mini.columns import COLUMNS, IMAGE, TASK_OF, pictures
from vlmbench.data.mini.scenes import NUM_SCENES, Part, scene
from vlmbench.data.pictures import png


@cache
def code_digest() -> str:
    """Changes with the code that draws and with the packages whose fonts and pictures it takes."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted((*folder.glob("*.py"), *folder.glob("*.txt"))):
        digest.update(path.read_bytes())
    for package in ("pillow", "matplotlib", "easy-vqa", "datasets"):
        digest.update(f"{package} {_version(package)} ".encode())
    return digest.hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def write(scenes: str, part: Part, path: Path) -> None:
    """Draw a part's scenes; as many of "train" as there are of "test".

    The file appears under its name when it is whole, so that other processes may draw it too.

    Raises: OSError; VlmbenchError where a package whose files are drawn with is not installed.
    """
    import datasets

    rows: list[dict[str, Any]] = []
    for number in range(NUM_SCENES[scenes]):
        rows += encoded(scene(scenes, part, number), pictures(scenes))
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    features = datasets.Features(_feature(COLUMNS[TASK_OF[scenes]]))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        datasets.Dataset.from_list(rows, features=features).to_parquet(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def encoded(rows: list[dict[str, Any]], columns: list[str]) -> list[dict[str, Any]]:
    """The rows of a scene with PNG files for pictures; one that they share is encoded once."""
    files: dict[int, dict[str, Any]] = {}
    for row in rows:
        for column in columns:
            if (image := row[column]) is not None:
                if id(image) not in files:
                    files[id(image)] = {"bytes": png(image), "path": None}
                row[column] = files[id(image)]
    return rows


def _feature(kind: Any) -> Any:
    import datasets

    if isinstance(kind, str):
        return datasets.Image() if kind == IMAGE else datasets.Value(kind)
    if isinstance(kind, list):
        return datasets.List(_feature(kind[0]))
    return {name: _feature(part) for name, part in kind.items()}
