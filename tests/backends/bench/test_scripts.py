"""The scripts that measure the engine run, and check what they measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch


def test_all_contestants_give_the_same_answers(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "engine.json"
    flags = ["--config", "tiny", "--workloads", "vqav2,mmbench", "--questions", "6"]
    flags += ["--repetitions", "1", "--batch-sizes", "4", "--json", str(path)]
    script("bench_engine").main(flags)
    document = json.loads(path.read_text())
    assert {"command", "date", "commit", "torch", "num_cpus", "machine"} <= document.keys()
    rows = document["rows"]
    assert [(row["workload"], row["split"]) for row in rows] == [
        ("vqav2", False),
        ("mmbench", False),
        ("vqav2", True),
        ("mmbench", True),
    ]
    for row in rows:
        assert [c["answers_that_differ"] for c in row["contestants"].values()] == [0, 0, 0]
        work = row["work_of_engine"]
        assert work["num_crops_encoded"] < work["num_crops_requested"]
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 1 + len(rows)
    assert table[0].split()[:2] == ["workload", "split"]


def test_what_there_was_no_time_for_is_named(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, path = script("bench_engine"), tmp_path / "engine.json"
    minutes = iter((0.0, 6.0))
    monkeypatch.setattr(module, "_minutes_since", lambda start: next(minutes))
    flags = ["--config", "tiny", "--workloads", "mathvista,mmbench", "--questions", "2"]
    flags += ["--repetitions", "1", "--batch-sizes", "2", "--splitting", "off"]
    module.main([*flags, "--minutes", "5", "--json", str(path)])
    document = json.loads(path.read_text())
    assert [row["workload"] for row in document["rows"]] == ["mmbench"], "it has a goal"
    assert document["not_measured"] == [["mathvista", False]]


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--workloads", "vqa"], "no workload 'vqa'"), (["--device", "cuda"], "torch sees no GPU")],
)
def test_a_mistake_ends_the_benchmark_before_it_begins(
    script: Any,
    flags: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        script("bench_engine").main(flags)
    assert message in capsys.readouterr().err


def test_without_a_gpu_nothing_is_checked(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script("gpu_check").main([]) == 2
    assert "torch sees no GPU on this machine; nothing was checked" in capsys.readouterr().err


def test_the_check_of_a_gpu_passes_on_the_cpu_itself(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("gpu_check")
    monkeypatch.setattr(module, "BATCH_SIZES", (1, 2, 5))
    monkeypatch.setattr(module, "NUM_NEW", 4)
    monkeypatch.setattr(module, "GRIDS", ((4, 6), (5, 3)))
    path = tmp_path / "check.json"
    assert module.main(["--device", "cpu", "--models", "tiny", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["dtype"] for row in rows] == ["float32", "bfloat16", "float16"]
    assert rows[0]["largest_error"] < 1e-5 < rows[1]["largest_error"]


def test_a_wrong_logit_or_answer_fails_the_check(script: Any) -> None:
    passed = script("gpu_check").passed
    good = {
        **{"dtype": "float32", "largest_error": 1e-6, "differ_in_batches": {"1": 0, "7": 0}},
        **{"differ_in_engine": 0, "deterministic_depends_on_company": 0},
    }
    assert passed(good)
    assert passed(good | {"dtype": "bfloat16", "differ_in_engine": 3})
    for bad in (
        {"largest_error": 0.1},
        {"differ_in_batches": {"1": 0, "7": 1}},
        {"differ_in_engine": 1},
        {"dtype": "bfloat16", "deterministic_depends_on_company": 1},
    ):
        assert not passed(good | bad)
