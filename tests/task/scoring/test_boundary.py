"""One answer that no rule can score, or one row that no task can read, costs no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlmbench.cli.main import main
from vlmbench.data.rows import Row
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.finished import open_run
from vlmbench.schema import Prediction, Sample, Verdict
from vlmbench.task import loading
from vlmbench.task.scoring import UNSCORED, Tally, score

TASK = loading.find("textvqa")

OWN_TASK = """
from dataclasses import replace
from vlmbench.schema import Verdict
from vlmbench.task import loading

def score(sample, prediction, profile):
    if sample.id.endswith("1"):
        raise KeyError("one")
    return Verdict(value=VALUE if sample.id.endswith("2") else 1.0, parsed="x", how="own")

TASK = replace(loading.find("textvqa"), name="mine", score=score)
"""


def scored(give: Any) -> Any:
    """The score of one sample by a scorer that gives or raises that."""

    def scorer(*_: object) -> Verdict:
        if isinstance(give, Exception):
            raise give
        return give if isinstance(give, Verdict) else Verdict(value=give, parsed="x", how="y")

    task = replace(TASK, score=scorer)
    sample = Sample(id="1", image_group="g", question="?", answers=("a",))
    return next(score(task, [(sample, Prediction(id="1", response="x"))]))


@pytest.mark.parametrize(
    "give",
    [
        *(KeyError("x"), RecursionError(), MemoryError(), OverflowError("x"), AssertionError()),
        *(float("nan"), float("inf"), -0.1, 1.1, 10**400, "1", None),
        Verdict(value=1.0, parsed={object()}, how="x"),  # type: ignore[arg-type]  # on purpose
    ],
)
def test_what_no_scores_file_can_hold_is_a_failed_record(give: Any) -> None:
    found = scored(give)
    assert found.error.startswith(UNSCORED) and not found.verdicts
    tally = Tally(TASK.profiles)
    tally.add(found)
    assert (tally.failed, tally.num_rows) == (1, 1)


@pytest.mark.parametrize("value", [0.0, 0.3, 1, True])
def test_credit_from_0_to_1_is_taken(value: float) -> None:
    assert scored(value).value("official") == value


@pytest.mark.parametrize("value", ["float('nan')", "2.0"])
def test_a_run_with_answers_that_cannot_be_scored_goes_on(
    tmp_path: Path, hub_copies: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "mine.py").write_text(OWN_TASK.replace("VALUE", value))
    folder = tmp_path / "run"
    command = ["run", "--model", "constant:x", "--tasks", "mine", "--tasks-dir", str(tasks)]
    command += ["--data-dir", str(hub_copies / "textvqa"), "--workers", "1", "--out", str(folder)]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "cannot be scored; the first: mine@validation/" in said
    run = open_run(folder)
    [task] = run.tasks
    text = (folder / f"scores-{task.name}.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    failed = [line for line in lines if line.get("error", "").startswith(UNSCORED)]
    assert 0 < len(failed) == run.num_failed < len(lines)
    assert task.summaries["official"].estimate is not None


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("mmbench", {"index": 10**400, "question": "?"}, "'index' is 1.*a whole number"),
        ("mmbench", {"index": "9" * 5_000, "question": "?"}, "'index' is .*a whole number"),
        ("mmbench", {"index": "\u0665", "question": "?"}, "'index' is .*a whole number"),
        (
            "mmmu",
            {"id": "validation_Art_1", "question_type": "multiple-choice", "options": "[]"},
            "'options' is '\\[\\]'",
        ),
        (
            "mathvista",
            {
                "pid": "1",
                "question": "?",
                "precision": 10**400,
                "question_type": "x",
                "answer_type": "y",
            },
            "'precision' is 1000.*a number",
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_named(
    task: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(VlmbenchError, match=rf"^row 7: column {message}"):
        loading.find(task).read(Row(values, where="row 7"))


def test_whatever_reading_a_row_raises_names_the_row() -> None:
    task = replace(TASK, read=lambda row: 1 / 0)  # type: ignore[arg-type,return-value]  # on purpose
    with pytest.raises(VlmbenchError, match=r"^row 7: textvqa cannot read this row \(ZeroDivision"):
        task.read(Row({}, where="row 7"))
