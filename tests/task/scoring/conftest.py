"""`vlmbench score` on files made by a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vlmbench.cli.main import main


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str
    scores: list[dict[str, Any]]

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document


@pytest.fixture
def score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function: task and lines, or a file's bytes -> the outcome of `vlmbench score`."""

    def run(task: str, lines: Iterable[Mapping[str, Any]] | bytes, *flags: str) -> Outcome:
        predictions, scores = tmp_path / "predictions.jsonl", tmp_path / "scores.jsonl"
        if isinstance(lines, bytes):
            predictions.write_bytes(lines)
        else:
            predictions.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        scores.unlink(missing_ok=True)
        command = ["score", "--task", task, "--predictions", str(predictions)]
        code = main([*command, "--out", str(scores), *flags])
        captured = capsys.readouterr()
        found = scores.read_bytes().splitlines() if scores.exists() else []
        return Outcome(code, captured.out, captured.err, [json.loads(line) for line in found])

    return run
