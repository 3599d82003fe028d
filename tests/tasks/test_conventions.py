"""What tasks state of themselves for other tools is consistent, and is what readers go by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from vlmbench.cli.main import main
from vlmbench.data.predictions import Conventions, HarnessNames
from vlmbench.data.predictions.conventions import SubmissionFormat
from vlmbench.data.predictions.harness_runs import by_name
from vlmbench.errors import VlmbenchError
from vlmbench.reports.board.leaderboard import Column, Setting
from vlmbench.reports.submissions import servers
from vlmbench.task import loading

MINE = """
from vlmbench import data, schema, task
from vlmbench.data.predictions import Conventions, HarnessNames
from vlmbench.metrics import anls

def read(row):
    asked = {"question": row.text("question"), "answers": row.texts("answers")}
    return schema.Sample(id=row.id("id"), image_group=row.id("id"), **asked)

def score(sample, prediction, profile):
    return anls.docvqa(prediction.response, sample.answers, profile)

names = HarnessNames(names={"test": ("bills_test",)}, metrics=("anls",), percent=100)
TASK = task.Task(name="bills", metric="anls", splits=(data.Split(name="test", size=2),), read=read,
                 score=score, form="docvqa", conventions=Conventions(lmms_eval=names))
"""


def test_the_first_id_column_is_the_data_sets_own() -> None:
    for task in loading.every():
        assert all(task.conventions.ids[0] in split.columns for split in task.splits)


def test_every_submission_format_has_a_task_and_every_server_one_task() -> None:
    found = [task.conventions.submission for task in loading.every()]
    assert {one.format for one in found if one} == set(get_args(SubmissionFormat))
    assert [one.server for one in found if one] == list(servers())


def test_a_split_that_the_task_lacks_is_refused() -> None:
    names = HarnessNames(names={"validatoin": ("docvqa_val",)}, percent=100)
    with pytest.raises(VlmbenchError, match=r"no split named 'validatoin' .*; did you mean valid"):
        replace(loading.find("docvqa"), conventions=Conventions(lmms_eval=names))


def test_two_tasks_may_not_claim_one_name_of_a_harness() -> None:
    theirs = Conventions(vlmevalkit=HarnessNames(names={"test": ("bills_test",)}, percent=1))
    with pytest.raises(VlmbenchError, match="b and a both claim VLMEvalKit's 'bills_test'"):
        by_name({"a": theirs, "b": theirs}, "VLMEvalKit")
    assert not by_name({"a": theirs, "b": theirs}, "lmms-eval")


def test_one_name_of_a_harness_may_be_of_two_splits() -> None:
    found = by_name({"mmmu": loading.conventions_of("mmmu")}, "VLMEvalKit")
    assert found["MMMU_DEV_VAL"].splits == ("validation", "dev")


def test_a_task_that_is_not_installed_has_the_default_conventions() -> None:
    assert loading.installed("nobodys") is None
    assert loading.conventions_of("nobodys") == Conventions()


def test_boards_show_tasks_by_their_order_and_unknown_ones_last() -> None:
    names = ["nobodys", "mmbench", "abc", "docvqa", "vqav2", "mathvista", "mmmu", "textvqa"]
    setting = Setting(is_mini=False, shots=0)
    columns = [Column(task=name, split="s", setting=setting, metric="m") for name in names]
    shown = [column.task for column in sorted(columns, key=lambda column: column.order)]
    assert shown[:6] == ["vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench"]
    assert shown[6:] == ["abc", "nobodys"]


def test_results_of_a_users_own_task_are_imported_by_the_name_it_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bills.py").write_text(MINE, encoding="utf-8")
    logs = tmp_path / "logs"
    logs.mkdir()
    lines = [
        {
            "doc_id": number,
            "doc": {"id": f"b{number}", "question": "?", "answers": ["12.50"]},
            "filtered_resps": answer,
            "anls": value,
        }
        for number, (answer, value) in enumerate([("12.50", 1.0), ("13.50", 0.8)])
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (logs / "samples_bills_test.jsonl").write_text(text, encoding="utf-8")
    results = {"results": {"bills_test": {"anls,none": 0.9}}, "model_name": "m"}
    (logs / "results.json").write_text(json.dumps(results), encoding="utf-8")
    flags = ["--tasks-dir", str(tmp_path / "mine"), "--out", str(tmp_path / "runs"), "--json"]
    assert main(["import", str(logs), *flags]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    (task,) = document["tasks"]
    assert (task["task"], task["reported"], task["num_different"]) == ("bills@test", 90.0, 0)
