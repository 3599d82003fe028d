"""One run of another harness, as its files tell it; what they do not say stays unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vlmbench.schema import Json, Profile

Harness = Literal["lmms-eval", "VLMEvalKit"]

PROFILES: Mapping[Harness, Profile] = {"lmms-eval": "lmms", "VLMEvalKit": "vlmevalkit"}
"""Our profile that follows each harness's rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask:
    """One task with its logged samples."""

    name: str
    """As the harness calls it: "docvqa_val", "MMBench_DEV_EN"."""

    spec: str
    """Our `TASK@SPLIT`."""

    predictions: Path
    reported: float | None = None
    """The harness's own score in percent; None: not in its files."""

    metric: str = ""
    """The name it has there."""

    values: Mapping[str, float] = field(default_factory=dict)
    """Credit in [0, 1] that the harness gave, by the id in the file; only where it is logged."""

    shots: int = 0
    has_ocr: bool = False
    settings: Mapping[str, Json] = field(default_factory=dict)
    """How it asked, as far as it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessRun:
    """One model's run at one time."""

    harness: Harness
    version: str
    """Empty: its files do not say."""

    model: str
    """As the harness gives it."""

    date: str
    """In the harness's own spelling; empty: unknown."""

    folder: Path
    tasks: tuple[HarnessTask, ...]
    settings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A task of which nothing can be taken, and why."""

    what: str
    reason: str


def number(value: Any) -> float | None:
    """A figure that a harness wrote, as a number or as text; None: it is neither, or not finite."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
