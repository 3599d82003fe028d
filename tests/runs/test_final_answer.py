"""A run's answers read anew: nothing is asked again, and what was read is recorded."""

from __future__ import annotations

import json
from pathlib import Path

from vlmbench.cli.main import main
from vlmbench.runs.evaluate import evaluate
from vlmbench.runs.folder.finished import open_run

ANSWER = "constant:<think>No.</think>\n<answer>yes</answer>"


def test_another_way_to_read_asks_nothing_anew(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "run"
    first = evaluate(ANSWER, "vqav2@mini", out=folder, limit=20)
    log = b"".join(path.read_bytes() for path in sorted(folder.glob("responses-*.jsonl")))
    assert b"<think>" in log, "the log has the response as it was"
    manifest = json.loads((folder / "run.json").read_text())
    assert "reading" not in manifest["tasks"]["vqav2@mini"]
    assert manifest["tasks"]["vqav2@mini"]["answer_marks"]["num_marked"] == 20

    read = evaluate(ANSWER, "vqav2@mini", out=folder, limit=20, final_answer="tags")
    assert log == b"".join(path.read_bytes() for path in sorted(folder.glob("responses-*.jsonl")))
    means = [run.tasks[0].summaries["official"].estimate.mean for run in (first, read)]  # type: ignore[union-attr]
    assert means[0] == 0 < means[1]
    manifest = json.loads((folder / "run.json").read_text())
    reading = {"final_answer": "tags", "version": 1, "split_think": False}
    assert manifest["tasks"]["vqav2@mini"]["reading"] == reading
    again = open_run(folder).tasks[0]
    assert again.reading.final_answer == "tags"
    assert {record.final_answer for record in again.scores()} == {"yes"}


def test_a_board_names_the_reading_and_what_another_gives(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    for name, way in (("a", "none"), ("b", "tags")):
        evaluate(ANSWER, "vqav2@mini", out=tmp_path / name, limit=20, final_answer=way)  # type: ignore[arg-type]
    both = ["board", str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(both) == 2, "two ways to read do not compare"
    assert "reading (as it is and final answer: tags)" in capsys.readouterr().err
    assert main([*both, "--allow-mixed"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "final answer: tags" in out
    assert "100.0 % of the responses have blanks or marks around the answer" in out
