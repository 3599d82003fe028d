"""Runs on drawn rows, and `vlmbench submit` and `vlmbench score` on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.cli.main import main
from vlmbench.data.splits import Split
from vlmbench.reports import submissions
from vlmbench.reports.submissions import writing
from vlmbench.task.loading import parse_spec
from vlmbench.task.task import Task

EXAMPLES = Path(__file__).parents[3] / "results" / "examples"


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def path(self) -> Path:
        """The file for the server."""
        return Path(self.out.splitlines()[0])


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function: the words of a command -> what it left behind."""

    def run(*words: object) -> Outcome:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def answered(tmp_path: Path) -> Callable[..., Path]:
    """A function: `TASK@SPLIT` -> the folder of a run with the example responses.

    `responses` replaces some, by id; None is a sample that fails.
    """

    def run(
        name: str, data_dir: Path, responses: Mapping[str, str | None] | None = None, **flags: Any
    ) -> Path:
        task = name.partition("@")[0]
        lines = (EXAMPLES / f"{task}.jsonl").read_text("utf-8").splitlines()
        said = {_id(name, line): line["response"] for line in map(json.loads, lines)}
        said |= responses or {}
        log = tmp_path / f"log-{name}"
        log.mkdir(exist_ok=True)
        records = (
            {"task": name, "id": id, "response": text, "error": "" if text is not None else "no"}
            for id, text in said.items()
        )
        text = "".join(json.dumps(record) + "\n" for record in records)
        (log / "responses-0.jsonl").write_text(text, "utf-8")
        folder = tmp_path / f"run-{name}"
        vlmbench.evaluate(f"replay:{log}", name, out=folder, data_dir=data_dir, **flags)
        return folder

    return run


def _id(name: str, line: Mapping[str, Any]) -> str:
    """MMMU's ids name the split."""
    return str(line["id"]).replace("validation", name.partition("@")[2])


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits count as whole however few rows a copy has."""

    def sizeless(spec: str, tasks_dir: Path | None = None) -> tuple[Task, Split, bool]:
        task, split, is_named = parse_spec(spec, tasks_dir)
        splits = tuple(replace(one, size=None) for one in task.splits)
        train = task.train and next((one for one in splits if one.name == task.train.name), None)
        return replace(task, splits=splits, train=train), replace(split, size=None), is_named

    monkeypatch.setattr(writing, "parse_spec", sizeless)
    assert submissions.submit is writing.submit
