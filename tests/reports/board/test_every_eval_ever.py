"""Exports to Every Eval Ever are valid by its schemas, and say what the run says."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vlmbench import files
from vlmbench.cli.main import main
from vlmbench.runs.folder import single_stream
from vlmbench.runs.folder.costs import Place
from vlmbench.runs.folder.finished import open_run
from vlmbench.runs.folder.scores import record_of
from vlmbench.schema import Response
from vlmbench.task.scoring import Score

ROOT = Path(__file__).parents[3]
SCHEMAS = Path(__file__).with_name("every_eval_ever")
TINY = ROOT / "results" / "runs" / "tiny"
NAMED = ("--to", "eee", "--name", "my-lab/my-model")

Exported = Callable[..., list[tuple[dict[str, Any], list[dict[str, Any]]]]]


@pytest.fixture
def exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Exported:
    """A function: a run and flags -> each task's aggregate with its samples, all of them valid."""
    schemas = [
        jsonschema.Draft7Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))
        for name in ("eval", "instance_level_eval")
    ]

    def export(folder: Path, *flags: object) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        out = tmp_path / "eee"
        capsys.readouterr()
        given = ["export", folder, *NAMED, "--out", out, "--json", *flags]
        assert main([str(one) for one in given]) == 0
        found = []
        for path in map(Path, json.loads(capsys.readouterr().out)["files"]):
            aggregate = json.loads(path.read_text())
            schemas[0].validate(aggregate)
            detailed = aggregate["detailed_evaluation_results"]
            content = (out / detailed["file_path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == detailed["checksum"]
            samples = [json.loads(line) for line in content.splitlines()]
            assert len(samples) == detailed["total_rows"] > 0
            for one in samples:
                schemas[1].validate(one)
                assert one["evaluation_id"] == aggregate["evaluation_id"]
                assert one["model_id"] == aggregate["model_info"]["id"] == "my-lab/my-model"
            found.append((aggregate, samples))
        return found

    return export


def test_scores_and_samples_are_those_of_the_run(exported: Exported) -> None:
    run = open_run(TINY)
    found = exported(TINY, "--tasks", "docvqa,mmbench")
    assert len(found) == 2
    for aggregate, samples in found:
        [result] = aggregate["evaluation_results"]
        task = run.task(result["evaluation_name"])
        assert task is not None
        shown = task.summaries["official"].estimate
        assert shown is not None
        details = result["score_details"]
        assert details["score"] == shown.mean
        interval = details["uncertainty"]["confidence_interval"]
        assert (interval["lower"], interval["upper"]) == (shown.low, shown.high)
        error = details["uncertainty"]["standard_error"]["value"]
        assert 1.5 * error < (shown.high - shown.low) / 2 < 2.5 * error
        assert "stand-in" in result["source_data"]["additional_details"]["note"]
        counted = [
            float(one["metadata"].get("circular_score", one["evaluation"]["score"]))
            for one in samples
            if one["metadata"].get("circular_score") != "none"
        ]
        assert math.fsum(counted) / len(counted) == pytest.approx(shown.mean)
        records = {one.id: one for one in task.responses()}
        for one in samples:
            record = records[one["sample_id"]]
            assert one["output"]["raw"] == [record.response]
            assert one["token_usage"]["output_tokens"] == record.generated_tokens
            assert one["input"]["raw"] and one["input"]["reference"]
            assert "latency_ms" not in one["performance"], "its time is that of a batch"


def test_the_same_run_has_the_same_names_and_another_profile_others(exported: Exported) -> None:
    def path(*flags: str) -> str:
        [(aggregate, _)] = exported(TINY, "--tasks", "docvqa", *flags)
        return str(aggregate["detailed_evaluation_results"]["file_path"])

    assert path() == path() != path("--profile", "lmms")


def test_latency_is_of_requests_that_were_asked_alone(
    made: Any, edited: Any, hub_copies: Path, exported: Exported
) -> None:
    folder = edited(made("yes", "docvqa"))
    first = next(open_run(folder).tasks[0].responses())
    line = single_stream.encoded(
        "docvqa@validation",
        first.id,
        Response(id=first.id, text="yes", finish_reason="stop"),
        latency_s=0.25,
        place=Place(device="cpu"),
        peak_device_memory_bytes=None,
        prompt="",
        worker="0",
        time=1.0,
    )
    single_stream.append(folder, line)
    [(_, samples)] = exported(folder, "--data-dir", hub_copies)
    timed = {
        one["sample_id"]: one["performance"]["latency_ms"]
        for one in samples
        if "latency_ms" in (one["performance"] or {})
    }
    assert timed == {first.id: 250}


def test_a_failed_sample_is_a_record_with_its_error(
    made: Any, edited: Any, hub_copies: Path, exported: Exported
) -> None:
    folder = edited(made("yes", "docvqa"))
    path = folder / "scores-docvqa@validation.jsonl"
    first, *rest = path.read_text().splitlines()
    was = json.loads(first)
    failed = Score(
        id=was["id"],
        cluster=was["cluster"],
        verdicts={},
        error="OSError: no picture",
        breakdown=was["breakdown"],
    )
    line = files.encode(record_of(failed, "official")).decode()
    path.write_text("\n".join([line.strip(), *rest]) + "\n")
    manifest = json.loads((folder / "run.json").read_text())
    manifest["tasks"]["docvqa@validation"]["num_failed"] = 1
    (folder / "run.json").write_text(json.dumps(manifest))
    [(aggregate, samples)] = exported(folder, "--data-dir", hub_copies, "--allow-part")
    [result] = aggregate["evaluation_results"]
    assert result["score_details"]["uncertainty"]["num_samples"] == len(rest)
    [one] = [one for one in samples if one["error"]]
    assert one["error"] == "OSError: no picture"
    assert one["evaluation"] == {"score": 0, "is_correct": False, "num_turns": 1}


def test_mistakes_are_one_line(mistake: Any, tmp_path: Path, made: Any) -> None:
    assert "give the folder by --out" in mistake("export", TINY, *NAMED)
    assert "give --name" in mistake("export", TINY, "--to", "eee", "--out", tmp_path / "x")
    assert "not on this machine" in mistake(
        "export", made("yes", "docvqa"), *NAMED, "--out", tmp_path / "y"
    )
    (tmp_path / "file").write_text("")
    assert "Not a directory" in mistake(
        "export", TINY, *NAMED, "--tasks", "docvqa", "--out", tmp_path / "file"
    )
