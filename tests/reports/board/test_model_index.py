"""The metadata of a model card goes through huggingface_hub's own reader and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from vlmbench.cli.main import main
from vlmbench.runs.folder.finished import open_run

Made = Callable[..., Path]


def exported(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["export", str(folder), "--to", "model-index", *flags]) == 0
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found


def test_the_hub_reads_what_the_run_says(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    index = exported(made("yes"), capsys)["model-index"]
    name, results = model_index_to_eval_results(index)
    assert name == "yes"
    assert eval_results_to_model_index(name, results) == index
    run = open_run(made("yes"))
    assert len(results) == len(run.tasks)
    for result, task in zip(results, run.tasks, strict=True):
        shown = task.summaries["official"].estimate
        assert shown is not None and result.metric_args is not None
        assert result.metric_value == pytest.approx(100 * shown.mean, abs=0.005)
        assert (result.metric_type, result.dataset_split) == (task.metric, task.split)
        assert result.metric_args["n"] == shown.n
        assert result.verified is None, "that is the hub's own to say"
    assert {result.task_type for result in results} == {
        *("visual-question-answering", "document-question-answering")
    }


def test_a_model_card_takes_it(
    made: Made, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = tmp_path / "card.yaml"
    assert exported(made("A"), capsys, "--name", "mine")["model-index"][0]["name"] == "mine"
    assert main(["export", str(made("A")), "--to", "model-index", "--out", str(text)]) == 0
    card = ModelCard(f"---\nlicense: apache-2.0\n{text.read_text()}---\n# A card\n")
    assert isinstance(card.data, ModelCardData)
    assert [result.metric_type for result in card.data.eval_results or ()] == [
        *("vqa_accuracy", "anls", "circular_accuracy")
    ]


def test_a_data_set_of_the_hub_is_named_and_a_local_path_is_not(
    made: Made, edited: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made("A", "textvqa")
    source = open_run(folder).manifest.data["textvqa@validation"].source
    (local,) = exported(folder, capsys)["model-index"][0]["results"]
    assert source not in str(local)
    assert local["dataset"]["type"] == "textvqa@validation"
    on_hub = edited(folder, (f'"{source}"', '"lmms-lab/textvqa"'), ('"local"', '"9c0699c"'))
    (remote,) = exported(on_hub, capsys)["model-index"][0]["results"]
    assert remote["dataset"] == {
        **{"name": "textvqa@validation", "type": "lmms-lab/textvqa"},
        **{"split": "validation", "revision": "9c0699c"},
    }


def test_mini_never_bears_the_real_name(
    made: Made, edited: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mini = edited(made("A", "textvqa"), ("textvqa@validation", "textvqa@mini"))
    (result,) = exported(mini, capsys)["model-index"][0]["results"]
    assert result["dataset"]["type"] == "textvqa@mini"
    assert "not the benchmark" in result["dataset"]["name"]


def test_a_part_is_refused_or_named_a_part(
    made: Made, mistake: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    part = made("yes", "textvqa", limit=5)
    assert "answers to 5 of 12 samples" in mistake("export", part, "--to", "model-index")
    (result,) = exported(part, capsys, "--allow-part")["model-index"][0]["results"]
    assert "5 of 12 samples" in result["metrics"][0]["name"]


def test_mistakes_are_one_line(made: Made, mistake: Any) -> None:
    to = ("--to", "model-index")
    assert "did you mean docvqa@validation" in mistake(
        "export", made("A"), *to, "--tasks", "docvqa@validatio"
    )
    hidden = made("A", "textvqa@test")
    assert "are not public" in mistake("export", hidden, *to)
    without = made("A", ["vqav2", "docvqa"])
    assert "has no profile 'vlmevalkit'" in mistake(
        "export", without, *to, "--profile", "vlmevalkit"
    )
    assert "holds no run" in mistake("export", "/nowhere", *to)
    assert "cannot write" in mistake("export", made("A"), *to, "--out", "/nowhere/card.yaml")
