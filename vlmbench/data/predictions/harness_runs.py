"""One run of another harness, as its files tell it; what they do not say stays unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vlmbench.data.predictions.conventions import Conventions, HarnessNames
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Profile

Harness = Literal["lmms-eval", "VLMEvalKit", "EvalScope", "inspect_ai"]

PROFILES: Mapping[Harness, Profile] = {"lmms-eval": "lmms", "VLMEvalKit": "vlmevalkit"}
"""Our profile that follows a harness's rules; the others have none here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask:
    """One task of a harness run, with its logged samples."""

    name: str
    """The harness's task name: "docvqa_val", "MMBench_DEV_EN"."""

    spec: str
    """Our `TASK@SPLIT`."""

    predictions: Path
    id_prefix: str = ""
    """How ids of this split begin, where the file has samples of other splits too."""

    reported: float | None = None
    """The harness's own score in percent; None: not in its files."""

    metric: str = ""
    """The harness's name of that score."""

    values: Mapping[str, float] = field(default_factory=dict)
    """Credit in [0, 1] that the harness gave, by the id in the file; only where it is logged."""

    shots: int = 0
    has_ocr: bool = False
    settings: Mapping[str, Json] = field(default_factory=dict)
    """How the harness asked, as far as it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessRun:
    """One model's run at one time."""

    harness: Harness
    version: str
    """Empty: its files do not say."""

    model: str
    """Harness's model name."""

    date: str
    """Date as the harness spells it; empty: unknown."""

    folder: Path
    tasks: tuple[HarnessTask, ...]
    settings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A task of which nothing can be imported, and why."""

    what: str
    reason: str


class Known(NamedTuple):
    """A benchmark of ours behind a harness's name for it."""

    task: str
    splits: tuple[str, ...]
    """Several where the harness has one file for them."""

    conventions: Conventions
    names: HarnessNames


def by_name(benchmarks: Mapping[str, Conventions], harness: Harness) -> dict[str, Known]:
    """Benchmarks by each of their names in a harness; `benchmarks` are our tasks by name.

    Raises: VlmbenchError where two tasks claim the same name.
    """
    known: dict[str, Known] = {}
    for task, conventions in benchmarks.items():
        names = {
            "lmms-eval": conventions.lmms_eval,
            "VLMEvalKit": conventions.vlmevalkit,
            "EvalScope": conventions.evalscope,
            "inspect_ai": conventions.inspect_ai,
        }[harness]
        if names is None:
            continue
        for split, its_names in names.names.items():
            for name in its_names:
                other = known.get(name, Known(task, (), conventions, names))
                if other.task != task:
                    raise VlmbenchError(f"{task} and {other.task} both claim {harness}'s {name!r}")
                known[name] = other._replace(splits=(*other.splits, split))
    return known


def number(value: Any) -> float | None:
    """A figure that a harness wrote, as a number or as text; None: it is neither, or not finite."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
