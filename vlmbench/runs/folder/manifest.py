"""run.json: what was asked of which model, and what must not change when a run is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.layout import MANIFEST
from vlmbench.schema import Json

SCHEMA_VERSION = 1

IDENTITY = ("model", "generation", "prompt", "data")
"""Parts of the manifest that must not change between a run and its resumption."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises: VlmbenchError where the folder holds no run, or a damaged or later version's one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VlmbenchError(f"{folder} holds no run (no {MANIFEST})") from None
    except OSError as error:
        raise VlmbenchError(f"cannot read {folder / MANIFEST}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise damaged(folder, error) from None
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        found = manifest.get("schema_version") if isinstance(manifest, dict) else None
        raise VlmbenchError(
            f"{folder / MANIFEST} has schema version {found}, this vlmbench reads {SCHEMA_VERSION}"
        )
    for part in (*IDENTITY, "tasks"):
        if not isinstance(manifest.get(part, {}), dict):
            raise damaged(folder, f"{part!r} is no object")
    if isinstance(manifest.get("prompt"), dict):
        # runs of before 2026-11-23 do not say so, and every style had its first version then
        manifest["prompt"].setdefault("pictures", "own")
        version = None if "imported" in manifest else 1
        manifest["prompt"].setdefault("style_version", version)
    return manifest


def damaged(folder: Path, why: object) -> VlmbenchError:
    """The error for a run.json that does not say what it should, with the way out."""
    return VlmbenchError(
        f"{folder / MANIFEST} is damaged ({why}); the answers in {folder}/responses-*.jsonl are "
        f"safe: remove {MANIFEST} and give the very same command again, with --resume: it asks "
        "nothing twice; or remove the folder and import again, if it was imported"
    )


def write_manifest(folder: Path, manifest: Mapping[str, Json]) -> None:
    """Replaces run.json as a whole, so that a crash leaves the old one or the new one."""
    partial = folder / f".{MANIFEST}.{os.getpid()}.partial"
    # of a name that is no UTF-8 a lone surrogate is left, which a backslash escapes in JSON too
    with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(manifest, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two manifests in the parts that can move a score, a line each.

    Tasks that only one of them has are no change: a run may be extended.
    """
    found: list[str] = []
    for part in IDENTITY:
        old, new = before.get(part), now.get(part)
        if part == "data" and isinstance(old, Mapping) and isinstance(new, Mapping):
            both = old.keys() & new.keys()
            old, new = {key: old[key] for key in both}, {key: new[key] for key in both}
        found += _changes(part, old, new)
    return found


def _changes(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(old.keys() | new.keys())
        return [
            line for key in keys for line in _changes(f"{name}.{key}", old.get(key), new.get(key))
        ]
    return [] if old == new else [f"{name} was {json.dumps(old)}, is now {json.dumps(new)}"]
