"""A user's mistake with `vlmbench score`: one clear line, exit 2, and nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.cli.main import main

SAMPLE = {"question_id": 1, "image_id": 1, "question": "?", "answers": ["yes"] * 10}


def lines(*ids: object, **changes: Any) -> list[dict[str, Any]]:
    return [{"id": id, "response": "yes", "sample": SAMPLE} | changes for id in ids]


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        pytest.param("vqa", lines(1), "no task named 'vqa'; did you mean vqav2", id="unknown task"),
        pytest.param("vqav2@val", lines(1), "no split named 'val' of vqav2", id="unknown split"),
        pytest.param("vqav2@", lines(1), "no split after @", id="no split"),
        pytest.param("vqav2", b"", "is empty", id="empty file"),
        pytest.param("vqav2", b"\xff\xfe{", "UTF-8", id="not UTF-8"),
        pytest.param("vqav2", b'{"id": 1, "response": "y"\n', "predictions.jsonl:1", id="torn"),
        pytest.param("vqav2", b"[1, 2\n", "predictions.jsonl", id="no JSON"),
        pytest.param("vqav2", lines(1, response=5), "'response' is the number 5", id="wrong type"),
        pytest.param("vqav2", lines([1]), "'id' is a list", id="id is a list"),
        pytest.param("vqav2", lines(1, 2, 1), "1 id (1) predicted more than once", id="twice"),
        pytest.param("vqav2", lines(1, "1"), "predicted more than once", id="number and text"),
        pytest.param("vqav2", lines(1, sample={}), "no column 'answers'", id="no gold column"),
        pytest.param(
            "vqav2",
            lines(1, sample={**SAMPLE, "answers": None}),
            "no gold answer",
            id="hidden gold",
        ),
        pytest.param(
            "vqav2",
            lines(1, sample={**SAMPLE, "answers": 7}),
            "predictions.jsonl:1: column 'answers' is 7, expected a list of texts",
            id="gold of a wrong type",
        ),
        pytest.param(
            "vqav2",
            [*lines(1), {"id": 2, "response": "yes"}],
            "predictions.jsonl:2: no sample here",
            id="one line without sample",
        ),
    ],
)
def test_a_wrong_file_or_task_is_one_line(
    score: Any, tmp_path: Path, task: str, given: Any, message: str
) -> None:
    outcome = score(task, given)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.startswith("vlmbench: ")
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["scor"], "no command named 'scor'; did you mean score", id="command"),
        pytest.param(["score"], "required: --tasks, --predictions", id="nothing given"),
        pytest.param(
            ["score", "--task", "vqav2", "--predictions", "none.jsonl"], "none.jsonl", id="no file"
        ),
        pytest.param(
            ["score", "--task", "vqav2", "--predictions", "."], "is a folder", id="a folder"
        ),
        pytest.param(
            ["score", "--task", "vqav2", "--predictions", "x", "--profile", "offical"],
            "invalid choice: 'offical'",
            id="unknown profile",
        ),
        pytest.param(
            ["score", "--task", "vqav2", "--predictions", "x", "--profile", "vlmevalkit"],
            "vqav2 has no profile 'vlmevalkit'; it has: official, strict, lmms",
            id="profile that the task has not",
        ),
        pytest.param(
            ["score", "--task", "vqav2", "--predictions", "x", "--tasks-dir", "none"],
            "no folder none",
            id="tasks folder",
        ),
        pytest.param(
            ["score", "--task", "vqav2", "--predictions", "x", "--judge-key-env", "KEY"],
            "name one with --judge",
            id="the key of no judge",
        ),
        pytest.param(["score", "--tsk", "vqav2"], "required", id="misspelt flag"),
        pytest.param(["list", "--jsn"], "unrecognized arguments: --jsn", id="flag of list"),
        pytest.param(["fetch"], "required: TASK[@SPLIT]", id="fetch nothing"),
    ],
)
def test_wrong_arguments_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_output_that_cannot_be_written_is_one_line(
    score: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": 1, "response": "a"}\n')
    command = ["score", "--task", "vqav2", "--predictions", str(tmp_path / "in.jsonl")]
    assert main([*command, "--out", str(tmp_path / "none" / "scores.jsonl")]) == 2
    assert "cannot write" in capsys.readouterr().err
    for folder in (tmp_path, Path("/")):
        assert main([*command, "--out", str(folder)]) == 2
        assert f"--out takes a file, {folder} is a folder" in capsys.readouterr().err


def test_an_earlier_scores_file_survives_a_mistake(tmp_path: Path) -> None:
    predictions, scores = tmp_path / "in.jsonl", tmp_path / "scores.jsonl"
    scores.write_text("earlier")
    predictions.write_text('{"id": 1, "response": "a", "sample": {"answers": ["a"]}}\n{')
    command = ["score", "--task", "vqav2", "--predictions", str(predictions)]
    assert main([*command, "--out", str(scores)]) == 2
    assert scores.read_text() == "earlier"


def test_scores_do_not_replace_the_predictions(score: Any, tmp_path: Path) -> None:
    predictions, link = tmp_path / "predictions.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(predictions)
    for out in (predictions, link):
        outcome = score("vqav2", lines(1), "--out", str(out))
        assert outcome.code == 2
        assert f"--out would replace the predictions in {out}" in outcome.err
        assert b'"sample"' in predictions.read_bytes()


def test_a_full_disk_leaves_no_half_of_the_scores(
    score: Any, tmp_path: Path, full_disk: Callable[..., Any]
) -> None:
    few, many = lines(1), lines(*range(200))
    for given in (few, many):  # the disk is full when the file is closed, and while it is written
        assert score("vqav2", given).code == 0
        command = ["score", "--task", "vqav2", "--predictions", str(tmp_path / "predictions.jsonl")]
        with full_disk():
            assert main([*command, "--out", str(tmp_path / "out.jsonl")]) == 2
        assert not list(tmp_path.glob("*out.jsonl*"))
        assert not list(tmp_path.glob(".*"))


def test_a_device_is_written_to_and_stays_one(score: Any, tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.symlink_to("/dev/null")
    assert score("vqav2", lines(1), "--out", str(device)).code == 0
    assert device.is_char_device()
