"""The scores file of a run: whole and sorted, or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.scores import ScoreRecord, ScoresFile


def record(id: str) -> ScoreRecord:
    return ScoreRecord(
        id=id, value=1.0, profiles={"official": 1.0}, unparsed=(), cluster=id, breakdown={}
    )


def test_lines_stand_in_the_order_of_ids(tmp_path: Path) -> None:
    with ScoresFile(tmp_path / "scores.jsonl") as file:
        for id in ("a10", "a2", "b1"):
            file.add(record(id))
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a2", "a10", "b1"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "num_lines", [pytest.param(10, id="at end"), pytest.param(5000, id="amid")]
)
def test_a_full_disk_leaves_the_earlier_file_and_says_how_to_go_on(
    num_lines: int, tmp_path: Path, full_disk: Callable[[], Any]
) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text("earlier")
    message = r"cannot write scores to .*scores\.jsonl: File too large; .* the same command goes on"
    with full_disk(), pytest.raises(VlmbenchError, match=message), ScoresFile(path) as file:
        for number in range(num_lines):
            file.add(record(f"sample-{number}"))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "earlier"
