"""run.json: what was asked of which model, on what, and what it came to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from vlmbench import files
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.layout import MANIFEST
from vlmbench.schema import Profile
from vlmbench.task.answer_marks import AnswerMarks
from vlmbench.task.binding import PromptSettings
from vlmbench.task.reading import Reading

SCHEMA_VERSION = 1

IDENTITY = ("model", "generation", "prompt", "data")
"""Parts of the manifest that must not change between a run and its resumption."""

Status = Literal["running", "interrupted", "stopped", "complete"]
"""Running (or killed), stopped by Ctrl-C, scored with samples missing, and scored whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecord:
    """The rows of a split as they were read."""

    version: int
    """The task's."""

    source: str
    """Hub id, local folder, or the code that drew them."""

    revision: str
    """Commit of the hub, "local", or a digest of drawn rows; empty: imported."""

    fingerprint: str
    """Equal where the rows were; empty: imported."""

    num_rows: int
    """Whole split's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """What a scored task came to: with its scores file, enough to sum it up again."""

    figures: Mapping[str, float] | UnsetType = UNSET
    """The source harness's own aggregate metrics, unconverted, for a task of another harness."""

    metric: str
    num_selected: int
    num_missing: int
    """Selected and not run, as the run was stopped."""

    num_failed: int
    """Samples with an error instead of a response."""

    profiles: tuple[Profile, ...]
    """Empty where the split's answers are not public."""

    scores_version: int | None
    """`scores.VERSION` of its file; None: no file."""

    reading: Reading | UnsetType = UNSET
    """How responses were read before they were scored; unset: as they are."""

    answer_marks: AnswerMarks | UnsetType = UNSET
    """What the responses are like, where more than a few are no plain answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTask:
    """What another harness says of one of its tasks, and how our scores compare."""

    name: str
    """Its own name for the task."""

    file: str
    metric: str | None
    reported: float | None
    """Percentage, like `official` and `by_profile`."""

    official: float | None
    profile: Profile
    """Ours for that harness."""

    by_profile: float | None
    num_compared: int
    """Samples whose credit the harness logged."""

    num_different: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """Origin of the answers of an imported run."""

    harness: str
    version: str | None
    date: str | None
    folder: str
    imported: str
    """When, in UTC."""

    settings: Mapping[str, Any]
    tasks: Mapping[str, ImportedTask]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All of run.json; of an imported run, what the other harness did not say stays empty."""

    schema_version: int = SCHEMA_VERSION
    vlmbench: str
    git_commit: str | None = None
    """Checkout's commit, "+changes" where it differs; None: installed from a wheel."""

    python: str = ""
    packages: Mapping[str, str]
    hardware: Mapping[str, Any]
    command: tuple[str, ...] = ()
    model: Mapping[str, Any]
    """`spec`, as the user named it, and all that its backend says can change an answer."""

    generation: Mapping[str, Any]
    prompt: PromptSettings
    data: Mapping[str, DataRecord]
    selection: Mapping[str, Any] = field(default_factory=dict)
    num_workers: int | None = None
    single_stream: int | UnsetType | None = UNSET
    """Requests of each task to measure alone; None: as many as take about a minute; 0: none. UNSET:
    the run is older than that, or has a model whose times mean nothing."""

    usd_per_hour: float | UnsetType = UNSET
    """Price of one device; not written where it was not told."""

    status: Status
    started: str | None
    finished: str | None
    """Both in UTC."""

    tasks: Mapping[str, TaskRecord]
    """`TASK@SPLIT` to what it came to; those of earlier commands in the same folder too."""

    imported: Import | UnsetType = UNSET


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run's folder.

    Raises: VlmbenchError where the folder holds no run, or a damaged or later version's one.
    """
    if not folder.is_file() and not os.path.lexists(folder / MANIFEST):
        raise VlmbenchError(f"{folder} holds no run (no {MANIFEST})")
    with files.opened(folder / MANIFEST) as file:
        content = file.read()
    try:
        document = files.decode(content)
        version = document.get("schema_version") if isinstance(document, dict) else None
        if version != SCHEMA_VERSION:
            raise VlmbenchError(
                f"{folder / MANIFEST} has schema version {version}, this vlmbench reads "
                f"{SCHEMA_VERSION}"
            )
        if isinstance(prompt := document.get("prompt"), dict):
            # runs of before the end of November 2026 do not say: every style had its first version
            prompt.setdefault("style_version", None if "imported" in document else 1)
        return msgspec.convert(document, Manifest)
    except ValueError as error:
        raise damaged(folder, error) from None


def is_ours(folder: Path) -> bool:
    """True if the folder's run.json is one that we wrote: the mark of a run's folder."""
    try:
        with files.opened(folder / MANIFEST) as file:
            document = files.decode(file.read())
    except (VlmbenchError, ValueError):
        return False
    return isinstance(document, dict) and {"schema_version", "vlmbench"} <= document.keys()


def damaged(folder: Path, why: object) -> VlmbenchError:
    """The error for a run.json that does not say what it should, with the way out."""
    return VlmbenchError(
        f"{folder / MANIFEST} is damaged ({why}); the answers in {folder}/responses-*.jsonl are "
        f"safe: remove {MANIFEST} and give the very same command again, with --resume: it asks "
        "nothing twice; or remove the folder and import again, if it was imported"
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace run.json as a whole, so that a crash leaves the old one or the new one."""
    partial = folder / f".{MANIFEST}.{os.getpid()}.partial"
    # of a name that is no UTF-8 a lone surrogate is left, which a backslash escapes in JSON too
    text = json.dumps(as_builtins(manifest), indent=1, ensure_ascii=False)
    with files.new_file(partial) as file:
        file.write(f"{text}\n".encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)


def as_builtins(record: object) -> Any:
    """A record as JSON has it: dicts, lists, texts and numbers."""
    return msgspec.to_builtins(record, builtin_types=())


def changes(before: Manifest, now: Manifest) -> list[str]:
    """What differs between two manifests in the parts that can move a score, a line each.

    Tasks that only one of them has are no change: a run may be extended. Neither is the place of
    a checkpoint or of data whose digests agree, nor a server's address where it names its model.
    """
    found: list[str] = []
    for part in IDENTITY:
        old, new = (json.loads(json.dumps(as_builtins(getattr(m, part)))) for m in (before, now))
        if part == "data":
            both = old.keys() & new.keys()
            for name in sorted(both):
                found += _changes(f"data.{name}", *_without_places(old[name], new[name]))
            continue
        if part == "model" and _is_same_model(old, new):
            old, new = old | {"spec": ""}, new | {"spec": ""}
        found += _changes(part, old, new)
    return found


def _without_places(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Two records of data without where they are, if their digests agree."""
    are_equal = bool(old["fingerprint"]) and old["fingerprint"] == new["fingerprint"]
    hidden = ("source", "revision") if are_equal else ()
    return [{key: value for key, value in one.items() if key not in hidden} for one in (old, new)]


def _is_same_model(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """True if two names of a model, with what stands beside them, are of the same one.

    The weights' digests tell, or the name that a server has for it (URL#MODEL).
    """
    (backend, _, before), (now, _, after) = (str(m.get("spec")).partition(":") for m in (old, new))
    if backend != now:
        return False
    if old.get("weights") or new.get("weights"):
        return bool(old.get("weights") == new.get("weights"))
    url, mark, model = before.rpartition("#")
    return bool(mark and "://" in url and model == after.rpartition("#")[2] and "#" in after)


def _changes(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(old.keys() | new.keys())
        return [
            line for key in keys for line in _changes(f"{name}.{key}", old.get(key), new.get(key))
        ]
    return [] if old == new else [f"{name} was {json.dumps(old)}, is now {json.dumps(new)}"]
