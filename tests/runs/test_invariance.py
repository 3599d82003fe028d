"""The same scores, byte for byte, however the work is cut."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

TASKS = ("vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench")


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(["--workers", "2"], id="2 workers"),
        pytest.param(["--workers", "3", "--batch-size", "3"], id="3 workers, batch 3"),
        pytest.param(["--batch-size", "1"], id="batch 1"),
        pytest.param(["--batch-size", "16"], id="batch 16"),
    ],
)
def test_workers_and_batches_change_nothing(
    started: Any, reference: dict[str, bytes], flags: list[str]
) -> None:
    assert len(reference) == len(TASKS)
    name = "-".join(flags).replace("--", "")
    started.parrot(name, *flags)
    assert started.scores(name) == reference


def test_tasks_apart_are_tasks_together(started: Any, reference: dict[str, bytes]) -> None:
    for task in ("vqav2", "mmbench"):
        started.parrot(f"only-{task}", tasks=task)
        found = started.scores(f"only-{task}")
        assert found.items() <= reference.items()
    started.parrot("grown", tasks="docvqa")
    started.parrot("grown", tasks="mathvista,docvqa")
    assert started.scores("grown").items() <= reference.items()


def test_the_order_of_the_data_changes_nothing(
    started: Any, reference: dict[str, bytes], tmp_path: Path
) -> None:
    for path in started.data_dir.rglob("*.parquet"):
        table = pq.read_table(path)
        target = tmp_path / path.relative_to(started.data_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.take(list(range(len(table)))[::-1]), target)
    started.parrot("reversed", "--data-dir", str(tmp_path))
    assert started.scores("reversed") == reference


def test_a_part_and_then_the_whole_is_the_whole(started: Any, reference: dict[str, bytes]) -> None:
    started.parrot("part", "--limit", "0.4")
    first = len(started.records("part"))
    started.parrot("part", "--workers", "2", "--resume")
    assert started.scores("part") == reference
    ids = [(record["task"], record["id"]) for record in started.records("part")]
    assert 0 < first < len(ids) == len(set(ids))


def test_a_finished_run_asks_nothing_again(started: Any, reference: dict[str, bytes]) -> None:
    shutil.copytree(started.folder / "reference", started.folder / "again")
    started.parrot("again")
    assert started.scores("again") == reference
    assert started.records("again") == started.records("reference")


def test_what_was_asked_is_recorded(started: Any, reference: dict[str, bytes]) -> None:
    for record in started.records("reference"):
        assert len(record["prompt"]) == 32
        assert record["images"], record["id"]
        assert (record["finish_reason"], record["attempt"]) == ("stop", 1)
    same_page = [
        r["images"] for r in started.records("reference") if r["task"].startswith("docvqa")
    ]
    assert 1 < len({tuple(images) for images in same_page}) < len(same_page)
    manifest = started.manifest("reference")
    assert manifest["status"] == "complete"
    assert manifest["data"]["vqav2@validation"]["num_rows"] == 12
    assert manifest["model"]["spec"] == "parrot:0"
