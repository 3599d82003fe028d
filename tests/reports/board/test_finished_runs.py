"""A run read again from its folder says what the run itself said."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.finished import FinishedRun, open_run

SIX = ["vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench"]


def figures(summary: Any) -> list[Any]:
    every = {"all": {"all": summary.estimate}} | dict(summary.breakdown)
    estimates = [
        (dimension, key, found.n, found.num_clusters, *map(near, (found.mean, found.low)))
        for dimension, keys in sorted(every.items())
        for key, found in sorted(keys.items())
    ]
    return [summary.num_rows, summary.failed, summary.unparsed, estimates]


def near(value: float) -> Any:
    return pytest.approx(value, abs=1e-12)  # sums of floats in another order


def test_summaries_from_the_files_are_those_of_the_run(hub_copies: Path, tmp_path: Path) -> None:
    result = vlmbench.evaluate(
        "constant:A", [*SIX, "textvqa@test"], data_dir=hub_copies, out=tmp_path / "run"
    )
    run = open_run(tmp_path / "run")
    assert [task.name for task in run.tasks] == [task.name for task in result.tasks]
    for found, task in zip(run.tasks, result.tasks, strict=True):
        assert (found.version, found.metric) == (task.version, task.metric)
        assert (found.num_selected, found.num_missing, found.num_failed) == (
            (task.num_selected, task.num_missing, task.num_failed)
        )
        assert list(found.summaries) == list(task.summaries)
        for profile, summary in task.summaries.items():
            assert figures(found.summaries[profile]) == figures(summary), (task.name, profile)


def test_responses_stand_in_step_with_scores(made: Callable[..., Path]) -> None:
    for task in open_run(made("A")).tasks:
        pairs = list(zip(task.scores(), task.responses(), strict=True))
        assert len(pairs) == task.num_selected
        assert all(score.id == response.id for score, response in pairs)
        assert {response.response for _, response in pairs} == {"A"}


def test_hidden_answers_have_responses_and_no_scores(made: Callable[..., Path]) -> None:
    (task,) = open_run(made("A", "textvqa@test")).tasks
    assert (dict(task.summaries), list(task.scores())) == ({}, [])
    assert len(list(task.responses())) == task.num_selected > 0


def test_a_run_that_grew_keeps_its_first_tasks(hub_copies: Path, tmp_path: Path) -> None:
    for tasks in ("docvqa", "textvqa"):
        vlmbench.evaluate("constant:A", tasks, data_dir=hub_copies, out=tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert [task.name for task in run.tasks] == ["docvqa@validation", "textvqa@validation"]
    assert all(task.summaries for task in run.tasks)


def test_titles_say_what_was_unusual(made: Callable[..., Path]) -> None:
    assert open_run(made("A")).title == "constant:A"
    blind = open_run(made("A", "textvqa", blind=True))
    assert (blind.title, blind.tasks[0].prompt.blind) == ("constant:A, no pictures", True)


def test_what_is_no_finished_run_is_one_line(
    made: Callable[..., Path], edited: Callable[..., Path], tmp_path: Path
) -> None:
    def error(folder: Path) -> str:
        with pytest.raises(VlmbenchError) as raised:
            open_run(folder)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    run = made("A", "textvqa")
    assert "holds no run" in error(tmp_path)
    assert "has not ended" in error(edited(run, ('"complete"', '"running"')))
    assert "have version 1" in error(edited(run, ('"scores_version": 2', '"scores_version": 1')))
    assert "is damaged" in error(edited(run, ('"num_rows"', '"rows"')))
    assert "is damaged" in error(edited(run, ('"cluster"', '"klaster"')))
    gone = edited(run)
    next(gone.glob("scores-*")).unlink()
    assert "cannot read" in error(gone)


def test_a_score_without_its_response_is_an_error(
    made: Callable[..., Path], edited: Callable[..., Path]
) -> None:
    folder = edited(made("A", "textvqa"))
    log = next(folder.glob("responses-*"))
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[1:]))
    run: FinishedRun = open_run(folder)
    with pytest.raises(VlmbenchError, match="not whole"):
        list(run.tasks[0].responses())


def test_the_manifest_holds_what_the_scores_file_lacks(made: Callable[..., Path]) -> None:
    manifest = json.loads((made("A") / "run.json").read_text())
    assert manifest["tasks"]["docvqa@validation"] == {
        "metric": "anls",
        "num_selected": 12,
        "num_missing": 0,
        "num_failed": 0,
        "profiles": ["official", "strict", "lmms", "vlmevalkit"],
        "scores_version": 2,
    }


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        pytest.param(range(9), "9 lines of 9 samples, the run has 12", id="cut"),
        pytest.param((), "0 lines of 0 samples, the run has 12", id="empty"),
        pytest.param((*range(12), 3), "13 lines of 12 samples, the run has 12", id="repeated"),
        pytest.param(
            (*range(11), 3), "12 lines of 11 samples, the run has 12", id="one for another"
        ),
    ],
)
def test_a_scores_file_of_other_samples_than_the_run_is_damaged(
    made: Callable[..., Path], edited: Callable[..., Path], kept: Sequence[int], message: str
) -> None:
    folder = edited(made("A", "docvqa"))
    (path,) = folder.glob("scores-*")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[number] for number in kept))
    with pytest.raises(VlmbenchError, match=f"is damaged .{message}"):
        open_run(folder)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", '"1"'])
def test_a_score_that_is_no_number_is_damage(
    made: Callable[..., Path], edited: Callable[..., Path], value: str
) -> None:
    folder = edited(made("A", "docvqa"), ('"official":0.0', f'"official":{value}'))
    with pytest.raises(VlmbenchError, match=r"scores-.* is damaged"):
        open_run(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"style": "idefics2"', '"style": null'),
        ('"shots": 0', '"shots": "none"'),
        ('"num_rows": 12', '"num_rows": "12"'),
        ('"num_missing": 0', '"num_missing": null'),
    ],
)
def test_a_manifest_with_values_of_other_types_is_damaged(
    made: Callable[..., Path], edited: Callable[..., Path], old: str, new: str
) -> None:
    with pytest.raises(VlmbenchError, match=r"run.json is damaged .*remove run.json"):
        open_run(edited(made("A", "docvqa"), (old, new)))


def test_a_dimension_without_categories_is_left_out(
    made: Callable[..., Path], edited: Callable[..., Path]
) -> None:
    folder = edited(made("A", "docvqa"), ('"breakdown":{', '"breakdown":{"domain":[],'))
    (task,) = open_run(folder).tasks
    assert list(task.summaries["official"].breakdown) == ["question_type"]
