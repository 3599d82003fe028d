"""Files of the hub's community evaluations go through huggingface_hub's own reader and back."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import eval_result_entries_to_yaml, parse_eval_result_entries

from vlmbench.cli.main import main
from vlmbench.reports import eval_results
from vlmbench.runs.folder.finished import open_run
from vlmbench.task.loading import installed

ROOT = Path(__file__).parents[3]
TO = ("--to", "eval-results")
REVISION = "59fed3cdc38662abeef8f363171b2ec7c95c165c"


@pytest.fixture
def of_hub(made: Any, edited: Any) -> Callable[..., Path]:
    """A function: how a run was asked -> its folder, as if its rows had come from the hub."""

    def make(**asking: Any) -> Path:
        folder = made("yes", "docvqa", **asking)
        source = open_run(folder).manifest.data["docvqa@validation"].source
        found: Path = edited(
            folder, (f'"{source}"', '"lmms-lab/DocVQA"'), ('"local"', f'"{REVISION}"')
        )
        return found

    return make


def exported(capsys: pytest.CaptureFixture[str], folder: Path, *flags: str) -> Any:
    capsys.readouterr()
    assert main(["export", str(folder), *TO, *flags]) == 0
    printed = capsys.readouterr()
    assert "registered benchmark" in printed.err
    return yaml.safe_load(printed.out)


def test_the_hub_reads_what_the_run_says(
    of_hub: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = of_hub()
    run = open_run(folder)
    source = ("--source-url", "https://example.org/runs", "--source-name", "Eval traces")
    found = exported(capsys, folder, *source)
    [entry] = parse_eval_result_entries(found)
    assert eval_result_entries_to_yaml([entry]) == found
    shown = run.tasks[0].summaries["official"].estimate
    assert shown is not None and entry.value == pytest.approx(100 * shown.mean, abs=0.005)
    assert (entry.dataset_id, entry.dataset_revision) == ("lmms-lab/DocVQA", REVISION)
    assert entry.task_id == "docvqa_validation" and entry.date == run.manifest.finished
    assert (entry.source_url, entry.source_name) == (source[1], source[3])
    assert entry.notes is not None and entry.verify_token is None
    for part in (
        "anls (official rules, 0 shots)",
        f"95 % interval {100 * shown.low:.2f} to {100 * shown.high:.2f}",
        f"n {shown.n}, 0 failed",
    ):
        assert part in entry.notes
    file = tmp_path / "docvqa.yaml"
    assert main(["export", str(folder), *TO, *source, "--out", str(file)]) == 0
    assert yaml.safe_load(file.read_text()) == found
    capsys.readouterr()
    assert main(["export", str(folder), *TO, *source, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_what_is_not_the_whole_benchmark_is_refused_or_said(
    made: Any, of_hub: Any, edited: Any, mistake: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    part = of_hub(limit=3)
    assert "answers to 3 of" in mistake("export", part, *TO)
    [entry] = exported(capsys, part, "--allow-part")
    assert "3 of 12 samples" in entry["notes"]
    assert "without --data-dir" in mistake("export", made("yes", "docvqa"), *TO)
    mini = edited(of_hub(), ("docvqa@validation", "docvqa@mini"))
    assert "is an embedded stand-in" in mistake("export", mini, *TO)
    [blind] = exported(capsys, of_hub(blind=True))
    assert "no pictures shown" in blind["notes"]


def test_mistakes_are_one_line(of_hub: Any, mistake: Any) -> None:
    folder = of_hub()
    assert "give its --source-url too" in mistake("export", folder, *TO, "--source-name", "x")
    assert "--name is for the other formats" in mistake("export", folder, *TO, "--name", "x")
    assert "are for --to eval-results and eee" in mistake(
        "export", folder, "--to", "model-index", "--source-url", "https://example.org"
    )


def test_the_drafts_of_benchmarks_are_those_of_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("eval_yaml")
    for name in script.TASKS:
        task = installed(name)
        assert task is not None
        draft = yaml.safe_load((script.FOLDER / f"{name}.yaml").read_text())
        assert draft == script.benchmark(task)
        ids = {one["id"] for one in draft["tasks"]}
        assert eval_results.task_id(name, task.splits[0].name) in ids
