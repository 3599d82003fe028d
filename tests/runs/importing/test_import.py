"""`vlmbench import`: other harnesses' folders become runs, with their number beside ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.cli.main import main
from vlmbench.runs.folder.finished import open_run

LMMS_RUN = "lmms-eval-HuggingFaceM4-idefics2-8b-20260801_120000"
KIT_RUN = "VLMEvalKit-llava-20260701"


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """A function: a result folder -> exit code and what `--json --list` prints."""

    def run(folder: Path, *flags: str) -> tuple[int, Any]:
        out = str(tmp_path / "runs")
        code = main(["import", str(folder), "--out", out, "--json", "--list", *flags])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_answers_are_scored_as_a_prediction_file_of_the_same_answers_is(
    imported: Callable[..., tuple[int, Any]],
    lmms_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, (document,) = imported(lmms_folder)
    run = open_run(tmp_path / "runs" / LMMS_RUN)
    assert document["run"] == str(run.folder)
    for found in document["tasks"]:
        name = found["task"].partition("@")[0]
        file = Path(__file__).parents[3] / f"results/examples/{name}.jsonl"
        main(["score", "--task", name, "--predictions", str(file), "--json"])
        expected = json.loads(capsys.readouterr().out)["profiles"]
        task = run.task(found["task"])
        assert task is not None
        for profile, figures in expected.items():
            assert found["profiles"][profile] == pytest.approx(figures["score"], abs=1e-9)
            estimate = task.summaries[profile].estimate
            assert estimate is not None and 100 * estimate.mean == pytest.approx(figures["score"])


def test_samples_that_the_harness_scores_differently_are_listed(
    imported: Callable[..., tuple[int, Any]], lmms_folder: Path
) -> None:
    _, (document,) = imported(lmms_folder)
    tasks = {task["task"]: task for task in document["tasks"]}
    docvqa = {one["id"]: one for one in tasks["docvqa@validation"]["different"]}
    assert docvqa["70001"]["theirs"] == 0.25 and docvqa["70001"]["official"] == 1
    assert docvqa["70005"]["theirs"] == 1 and docvqa["70005"]["official"] == 0
    assert "70006" not in docvqa  # both give full credit
    mmmu = tasks["mmmu@validation"]
    assert mmmu["num_compared"] == 9  # of an open question, lmms-eval logs no verdict
    assert mmmu["reported"] == 45.0


def test_every_kept_field_is_the_harnesss_own_and_no_key_is_kept(
    imported: Callable[..., tuple[int, Any]], lmms_folder: Path, tmp_path: Path
) -> None:
    imported(lmms_folder)
    text = (tmp_path / "runs" / LMMS_RUN / "run.json").read_text(encoding="utf-8")
    assert "secret123" not in text
    manifest = json.loads(text)
    origin = manifest["imported"]
    assert (origin["harness"], origin["version"]) == ("lmms-eval", "main@75571cfe")
    assert origin["settings"]["model_args"] == "pretrained=HuggingFaceM4/idefics2-8b"
    assert manifest["model"]["spec"] == "lmms-eval:HuggingFaceM4/idefics2-8b"
    assert manifest["packages"] == manifest["hardware"] == {}
    assert manifest["started"] is None
    assert origin["tasks"]["docvqa@validation"]["reported"] == 50.0


def test_a_task_without_a_counterpart_is_named_and_the_rest_imported(
    lmms_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(lmms_folder), "--out", str(tmp_path / "runs")]) == 1
    printed = capsys.readouterr()
    assert "mme of " in printed.err and printed.err.count("\n") == 1
    assert "docvqa@validation" in printed.out and "+31.17" in printed.out


def test_numbers_without_samples_cannot_be_imported(
    lmms_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in lmms_folder.rglob("*samples*"):
        path.unlink()
    assert main(["import", str(lmms_folder), "--out", str(tmp_path / "runs")]) == 2
    printed = capsys.readouterr()
    assert "--log_samples" in printed.err and printed.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_version_that_the_files_do_not_have_is_unknown(
    imported: Callable[..., tuple[int, Any]], lmms_folder: Path
) -> None:
    (path,) = lmms_folder.rglob("*_results.json")
    document = json.loads(path.read_text()) | {"lmms_eval_version": "unknown@unknown"}
    path.write_text(json.dumps(document))
    assert imported(lmms_folder)[1][0]["version"] is None


def test_two_tasks_of_one_split_become_two_runs(
    imported: Callable[..., tuple[int, Any]], lmms_folder: Path
) -> None:
    (path,) = lmms_folder.rglob("*samples_mmmu_val.jsonl")
    path.with_name(path.name.replace("mmmu_val", "mmmu_val_qwen")).write_bytes(path.read_bytes())
    _, documents = imported(lmms_folder)
    assert [Path(d["run"]).name for d in documents] == [LMMS_RUN, f"{LMMS_RUN}-2"]
    assert [t["harness_task"] for t in documents[1]["tasks"]] == ["mmmu_val_qwen"]


def test_rows_that_are_known_by_number_keep_it_and_match_no_id(
    imported: Callable[..., tuple[int, Any]], lmms_folder: Path, tmp_path: Path
) -> None:
    (path,) = lmms_folder.rglob("*samples_docvqa_val.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(l | {"submission": None}) + "\n" for l in lines))  # noqa: E741
    imported(lmms_folder)
    task = open_run(tmp_path / "runs" / LMMS_RUN).task("docvqa@validation")
    assert task is not None
    assert [score.id for score in task.scores()][:2] == ["row-0", "row-1"]


def test_a_folder_of_vlmevalkit_is_imported_once_though_it_is_linked_twice(
    imported: Callable[..., tuple[int, Any]], kit_folder: Path
) -> None:
    code, (document,) = imported(kit_folder)
    assert code == 0
    assert Path(document["run"]).name == KIT_RUN
    assert (document["harness"], document["version"]) == ("VLMEvalKit", "commit 0a1b2c3d")
    (task,) = document["tasks"]
    assert (task["reported"], task["n"], task["num_compared"]) == (80.5, 12, 12)
    assert task["different"][0]["id"] == "70001"


def test_the_board_and_the_comparison_show_imported_runs(
    imported: Callable[..., tuple[int, Any]],
    lmms_folder: Path,
    kit_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    imported(lmms_folder)
    imported(kit_folder)
    folders = [str(tmp_path / "runs" / name) for name in (LMMS_RUN, KIT_RUN)]
    assert main(["board", *folders, "--allow-mixed", "--baselines", "none"]) == 0
    assert "which reports 50.00 of these answers" in capsys.readouterr().out
    assert main(["board", *folders]) == 2  # they were asked in different ways
    assert "--allow-mixed" in capsys.readouterr().err
    assert main(["compare", *folders, "--list", "flips"]) == 0
    printed = capsys.readouterr()
    assert "+0.00" in printed.out and "prompt style" in printed.err
    assert "other rows" not in printed.err


def test_a_report_shows_the_answers_of_an_imported_run(
    imported: Callable[..., tuple[int, Any]], kit_folder: Path, tmp_path: Path, hub_copies: Path
) -> None:
    from vlmbench.reports.viewer import report

    imported(kit_folder)
    folder = tmp_path / "runs" / KIT_RUN
    built = report.build([folder], tmp_path / "report", data_dir=hub_copies, has_plots=False)
    assert built.num_samples == 12 and built.num_pictures > 0 and not built.notes


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_without_results_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "there"
    if kind == "empty":
        folder.mkdir()
    assert main(["import", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("vlmbench: ")


def test_a_second_import_into_the_same_folder_is_refused(
    imported: Callable[..., tuple[int, Any]],
    kit_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    imported(kit_folder)
    assert main(["import", str(kit_folder), "--out", str(tmp_path / "runs")]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_mathvista_is_scored_by_the_answers_that_the_judge_extracted(
    imported: Callable[..., tuple[int, Any]],
    tmp_path: Path,
    examples: Callable[[str], list[dict[str, Any]]],
) -> None:
    import openpyxl

    folder = tmp_path / "outputs" / "m"
    folder.mkdir(parents=True)
    names = ("index", "question", "choices", "answer", "question_type", "answer_type", "prediction")
    for ending in ("", "_gpt-4o-mini"):
        book = openpyxl.Workbook()
        assert book.active is not None
        book.active.append([*names, "res"] if ending else list(names))
        for one in examples("mathvista"):
            sample = one["sample"] | {"index": one["id"], "prediction": "unreadable"}
            cells = [str(sample[n]) if n == "choices" else sample[n] for n in names]
            book.active.append([*cells, sample["answer"]] if ending else cells)
        book.save(folder / f"m_MathVista_MINI{ending}.xlsx")
    score = '"Task&Skill","tot","acc"\n"Overall","12","91.5"\n'
    (folder / "m_MathVista_MINI_gpt-4o-mini_score.csv").write_text(score)
    _, (document,) = imported(tmp_path / "outputs")
    (task,) = document["tasks"]
    assert task["reported"] == 91.5
    assert task["profiles"]["official"] > 90


def test_a_damaged_samples_file_is_left_out_and_the_rest_imported(
    lmms_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = lmms_folder.rglob("*samples_mmmu_val.jsonl")
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["import", str(lmms_folder), "--out", str(tmp_path / "runs")]) == 1
    printed = capsys.readouterr()
    assert "left out: mmmu_val of " in printed.err and "was it cut off?" in printed.err
    assert [task.name for task in open_run(tmp_path / "runs" / LMMS_RUN).tasks] == [
        "docvqa@validation"
    ]


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000])
def test_a_damaged_results_file_costs_its_own_run_only(
    lmms_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (path,) = lmms_folder.rglob("*_results.json")
    other = path.parent.with_name("other")
    shutil.copytree(path.parent, other)
    (other / path.name).write_text(content)
    assert main(["import", str(lmms_folder), "--out", str(tmp_path / "runs")]) == 1
    err = capsys.readouterr().err
    assert f"left out: {other}: cannot read {other / path.name}" in err
    assert "remove it to take the samples alone" in err
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == [LMMS_RUN]


def test_a_damaged_sheet_is_left_out_and_the_rest_imported(
    kit_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = kit_folder.rglob("T*/llava_DocVQA_VAL_acc.csv")
    path.with_name("llava_TextVQA_VAL.tsv").write_text("index\tquestion\tanswer\tprediction\n")
    path.with_name("llava_TextVQA_VAL_acc.csv").write_bytes(b"\xff")
    assert main(["import", str(kit_folder), "--out", str(tmp_path / "runs")]) == 1
    assert "left out: TextVQA_VAL of " in capsys.readouterr().err
    assert (tmp_path / "runs" / KIT_RUN / "run.json").is_file()


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "1e999"])
def test_a_figure_that_the_harness_could_not_compute_is_unknown(
    lmms_folder: Path, tmp_path: Path, figure: str
) -> None:
    (path,) = lmms_folder.rglob("*_results.json")
    path.write_text(path.read_text().replace('"anls,none": 0.5', f'"anls,none": {figure}'))
    main(["import", str(lmms_folder), "--out", str(tmp_path / "runs")])
    text = (tmp_path / "runs" / LMMS_RUN / "run.json").read_text("utf-8")
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["imported"]["tasks"]["docvqa@validation"]["reported"] is None
