"""The mini splits at the command line: drawn once, read like any other, scored offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vlmbench.cli.main import main
from vlmbench.data import splits
from vlmbench.data.mini import TASKS
from vlmbench.data.mini.drawn_rows import drawn_rows
from vlmbench.task import loading
from vlmbench.task.binding import OwnTask, PromptSettings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where files of this test are cached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_mini_split_runs_and_scores_offline(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("easy_vqa")
    tasks = ",".join(f"{name}@mini" for name in TASKS)
    code = main(
        [
            "run",
            "--model",
            "constant:yes",
            "--tasks",
            tasks,
            "--limit",
            "20",
            "--out",
            "o",
            "--details",
        ]
    )
    shown, complaint = capsys.readouterr()
    assert code == 0, complaint
    assert all(f"{name}@mini" in shown for name in TASKS)
    assert "small text" in shown and "large text" in shown
    recorded = json.loads((in_folder / "o" / "run.json").read_text())["data"]
    for name in TASKS:
        found = recorded[f"{name}@mini"]
        assert found["source"] == f"vlmbench.mini.{name}"
        assert found["revision"].startswith("sha256:")
        assert 300 <= found["num_rows"] <= 1_000


def test_rows_read_from_the_file_are_the_samples_that_were_drawn(cache: Path) -> None:
    for name in ("textvqa", "docvqa"):
        found = loading.find(name)
        rows = splits.load(name, found.split("mini"))
        drawn = [found.read(row) for index in range(4) for row in drawn_rows(name, "test", index)]
        for row, sample in zip(rows, drawn, strict=False):
            stored = found.read(row)
            assert stored.images[1].decode().tobytes() == sample.images[1].decode().tobytes()
            assert replace(stored, images={}) == replace(sample, images={})


def test_a_file_is_drawn_once_unless_forced(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = loading.find("textvqa").split("mini")
    first = splits.load("textvqa", split)
    (path,) = cache.rglob("*.parquet")
    drawn = path.stat().st_mtime_ns
    again = splits.load("textvqa", split)
    assert path.stat().st_mtime_ns == drawn
    forced = splits.fetch("textvqa", split, force=True)
    assert path.stat().st_mtime_ns > drawn
    assert first.revision == again.revision == forced.revision
    monkeypatch.setattr("vlmbench.data.mini.row_file.code_digest", lambda: "of other code")
    assert splits.load("textvqa", split).fingerprint == first.fingerprint
    assert len(list(cache.rglob("*.parquet"))) == 2


def test_two_processes_may_draw_the_same_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vlmbench", "fetch", "docvqa@mini"]
    both = [
        subprocess.Popen(
            command, env=os.environ | {"HF_HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    shown = [one.communicate()[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert shown[0] == shown[1] and shown[0].startswith("docvqa@mini: 462 rows from vlmbench.mini")
    assert [path.name for path in tmp_path.rglob("mini-*/*")] == ["docvqa-test.parquet"]


def test_examples_come_from_the_train_part(cache: Path) -> None:
    bound = OwnTask("docvqa@mini", PromptSettings(shots=2), data_dir=None, tasks_dir=None)
    asked = bound.request(bound.task.read(bound.rows[0]))
    answers = [turn.content[0] for turn in asked.messages if turn.role == "assistant"]
    rows = (row for i in range(100) for row in drawn_rows("docvqa", "train", i))
    train = {answer for row in rows for answer in bound.task.read(row).answers}
    assert len(answers) == 2
    assert all(str(answer).removeprefix("Answer: ") in train for answer in answers)


def test_a_prediction_file_is_scored_without_the_hub(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = loading.find("docvqa")
    with (in_folder / "gold.jsonl").open("w") as file:
        for row in splits.load("docvqa", found.split("mini")):
            sample = found.read(row)
            file.write(json.dumps({"id": sample.id, "response": sample.answers[0]}) + "\n")
    assert main(["score", "--task", "docvqa@mini", "--predictions", "gold.jsonl"]) == 0
    assert "100.00" in capsys.readouterr().out


def test_easy_vqa_is_the_whole_official_test(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("easy_vqa")
    assert main(["fetch", "vqav2@easy-vqa"]) == 0
    assert capsys.readouterr().out.startswith("vqav2@easy-vqa: 9,673 rows from vlmbench.mini.easy")
