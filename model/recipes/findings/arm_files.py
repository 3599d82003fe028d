"""What is kept of a finished arm: scores of every question, loss, and costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .evaluation import Item

QUESTIONS = "questions.json"
"""File beside arms: the questions scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """The validation part, read during training."""

    step: int
    scores: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmResult:
    """One arm with one seed. Scores are percent, in the order of the questions."""

    arm: str
    seed: int
    size: str
    steps: int
    samples: int
    """Pictures with their questions that it was trained on."""
    validation: tuple[Point, ...]
    test: Mapping[str, tuple[int, ...]]
    """Test scores by how pictures are shown: "whole", "split", controls "blank", "other"."""
    curve: tuple[tuple[int, float, float], ...]
    """Step, loss and length of the gradient."""
    costs: Mapping[str, float]
    is_finite: bool
    """True: all parameters were numbers at the end; else every score is 0."""

    @property
    def training_flops(self) -> float:
        return self.costs["sample_flops"] * self.samples

    def write(self, folder: Path) -> None:
        """Writes a JSON line."""
        folder.mkdir(parents=True, exist_ok=True)
        path = path_of(folder, self.arm, self.seed)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), separators=(",", ":")) + "\n", "utf-8")
        new.replace(path)


def path_of(folder: Path, arm: str, seed: int) -> Path:
    return folder / f"{arm}-{seed}.json"


def read(path: Path) -> ArmResult:
    """Raises: ValueError where the file is no arm's."""
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        content["validation"] = tuple(
            Point(step=point["step"], scores=tuple(point["scores"]))
            for point in content["validation"]
        )
        content["test"] = {shown: tuple(scores) for shown, scores in content["test"].items()}
        content["curve"] = tuple(tuple(point) for point in content["curve"])
        return ArmResult(**content)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result of an arm: {error!r}") from error


def read_all(folder: Path, size: str) -> dict[tuple[str, int], ArmResult]:
    """Finished arms of that size, by name and seed."""
    results = (read(path) for path in sorted(folder.glob("*.json")))
    return {(result.arm, result.seed): result for result in results if result.size == size}


def percent(scores: Iterable[float]) -> tuple[int, ...]:
    return tuple(round(100 * score) for score in scores)


def write_questions(folder: Path, parts: Mapping[str, Sequence[Item]]) -> None:
    """Which question each score is of, once for all arms.

    Raises: ValueError where the folder has other questions: its arms would not be comparable.
    """
    content = {part: [list(item) for item in items] for part, items in parts.items()}
    path = folder / QUESTIONS
    if path.exists():
        if json.loads(path.read_text("utf-8")) != content:
            raise ValueError(f"{path} has other questions: write results to another folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f'"{part}": [\n' + ",\n".join(map(json.dumps, rows)) + "]" for part, rows in content.items()
    ]
    path.write_text("{" + ",\n".join(lines) + "}\n", "utf-8")


def read_questions(folder: Path) -> dict[str, tuple[Item, ...]]:
    """Raises: ValueError where no arm has written them yet."""
    path = folder / QUESTIONS
    if not path.exists():
        raise ValueError(f"no {path}: train an arm first")
    content = json.loads(path.read_text("utf-8"))
    return {part: tuple(Item(*row) for row in rows) for part, rows in content.items()}
