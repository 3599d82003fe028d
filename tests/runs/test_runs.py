"""What a run does with a selection, as a call, and before it starts."""

from __future__ import annotations

import base64
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.cli.main import main
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.responses import records


def answered(folder: Path) -> list[tuple[str, str]]:
    lines = [line for path in folder.glob("responses-*") for line in path.read_bytes().splitlines()]
    return [(record["task"], record["id"]) for record in map(json.loads, lines)]


def test_limits_count_for_each_task_and_keep_circular_groups_whole(
    hub_copies: Path, tmp_path: Path
) -> None:
    result = vlmbench.evaluate(
        "constant:A", ["mmbench", "docvqa"], limit=0.25, data_dir=hub_copies, out=tmp_path / "run"
    )
    ids = answered(tmp_path / "run")
    assert len([id for task, id in ids if task.startswith("docvqa")]) == 3
    rotations: dict[int, int] = {}
    for task, id in ids:
        if task.startswith("mmbench"):
            rotations[int(id) % 1_000_000] = rotations.get(int(id) % 1_000_000, 0) + 1
    whole = vlmbench.evaluate("constant:A", "mmbench", data_dir=hub_copies, out=tmp_path / "all")
    in_all: dict[int, int] = {}
    for _, id in answered(tmp_path / "all"):
        in_all[int(id) % 1_000_000] = in_all.get(int(id) % 1_000_000, 0) + 1
    assert rotations.items() <= in_all.items()
    assert [task.num_selected for task in result.tasks] == [sum(rotations.values()), 3]
    assert whole.num_missing == 0


def test_ids_and_categories_select(hub_copies: Path, tmp_path: Path) -> None:
    vlmbench.evaluate("constant:A", "mmmu", data_dir=hub_copies, out=tmp_path / "all")
    every = [id for _, id in answered(tmp_path / "all")]
    chosen = {"data_dir": hub_copies, "ids": every[2:4]}
    vlmbench.evaluate("constant:A", "mmmu", out=tmp_path / "ids", **chosen)  # type: ignore[arg-type]
    assert sorted(id for _, id in answered(tmp_path / "ids")) == sorted(every[2:4])
    vlmbench.evaluate(
        "constant:A",
        "mmmu",
        data_dir=hub_copies,
        where={"question_type": "open"},
        out=tmp_path / "open",
    )
    found = answered(tmp_path / "open")
    assert 0 < len(found) < len(every)


def test_a_limit_in_a_whole_runs_folder_does_not_cut_its_scores(
    hub_copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"data_dir": hub_copies, "out": tmp_path / "run"}
    whole = vlmbench.evaluate("constant:A", "docvqa", **given).tasks[0]
    assert capsys.readouterr().err == ""
    limited = vlmbench.evaluate("constant:A", "docvqa", limit=3, **given).tasks[0]
    assert limited.num_selected == whole.num_selected > 3
    assert limited.summaries == whole.summaries
    assert f"has scores of {whole.num_selected} samples, these 3 among" in capsys.readouterr().err


def test_a_split_without_public_answers_is_run_and_not_scored(
    hub_copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--model", "constant:A", "--tasks", "textvqa@test", "--limit", "4"]
    assert main([*command, "--data-dir", str(hub_copies), "--out", str(tmp_path / "run")]) == 0
    assert "not public, so there is no score" in capsys.readouterr().out
    assert len(answered(tmp_path / "run")) == 4
    assert not list((tmp_path / "run").glob("scores-*"))


def test_sigterm_means_after_a_run_what_it_meant_before(hub_copies: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    command = ["run", "--model", "constant:A", "--tasks", "textvqa", "--limit", "2"]
    assert main([*command, "--data-dir", str(hub_copies), "--out", str(tmp_path / "run")]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_shots_come_from_the_training_split(hub_copies: Path, tmp_path: Path) -> None:
    digests = []
    for out, shots in (("none", 0), ("two", 2), ("again", 2)):
        vlmbench.evaluate(
            "constant:A", "textvqa", shots=shots, data_dir=hub_copies, out=tmp_path / out
        )
        lines = (tmp_path / out / "responses-0.jsonl").read_bytes().splitlines()
        digests.append({r["id"]: (r["prompt"], len(r["images"])) for r in map(json.loads, lines)})
    none, two, again = digests
    assert two == again
    assert {images for _, images in none.values()} == {1}
    assert {images for _, images in two.values()} == {3}


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    hub_copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--model", "constant:A", "--tasks", "vqav2,mmbench", "--workers", "2"]
    given = ["--data-dir", str(hub_copies), "--out", str(tmp_path / "run"), "--dry-run"]
    assert main([*command, *given]) == 0
    printed = capsys.readouterr().out
    assert "vqav2@validation" in printed
    assert "2 workers are given" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_broken_picture_is_a_failed_sample_and_the_run_goes_on(
    hub_copies: Path, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = next((hub_copies / "textvqa").rglob("validation*.parquet"))
    table = pq.read_table(source)
    pictures = table.column("image").to_pylist()
    pictures[3] = None
    column = pa.array(pictures, table.schema.field("image").type)
    position = table.column_names.index("image")
    target = tmp_path / "data" / "textvqa" / "data"
    target.mkdir(parents=True)
    pq.write_table(table.set_column(position, "image", column), target / source.name)
    result = vlmbench.evaluate(
        "constant:A", "textvqa", data_dir=tmp_path / "data", out=tmp_path / "run"
    )
    lines = (tmp_path / "run" / "responses-0.jsonl").read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == len(table)
    assert result.num_failed == sum(record["response"] is None for record in records) == 1


def test_fresh_moves_the_folder_that_it_is_called_in(
    hub_copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    given: dict[str, Any] = {"limit": 2, "data_dir": hub_copies}
    vlmbench.evaluate("constant:A", "docvqa", out=here, **given)
    monkeypatch.chdir(here)
    vlmbench.evaluate("constant:B", "docvqa", out=".", resume=False, **given)
    models = {
        folder.name == "here": json.loads((folder / "run.json").read_text())["model"]["spec"]
        for folder in tmp_path.iterdir()
    }
    assert models == {True: "constant:B", False: "constant:A"}
    assert len(answered(here)) == 2


ROW: dict[str, Any] = {"question": "How many?", "answers": ["yes"]}


@pytest.fixture
def rows_of_docvqa(tmp_path: Path, made_rows: Callable[..., list[dict[str, Any]]]) -> Any:
    """A function: what some rows have -> a `--data-dir` with them."""
    picture = made_rows("docvqa", "validation")[0]["image"]["bytes"]

    def write(*rows: dict[str, Any]) -> Path:
        encoded = base64.b64encode(picture).decode()
        lines = (json.dumps(ROW | {"image": encoded} | row) for row in rows)
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "validation.jsonl").write_text("\n".join(lines))
        return tmp_path / "data"

    return write


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questionId": "a"}, "id 'a' stands twice in the data (rows 0 and 2)"),
        ({"answers": None}, "samples without a gold answer, where others have one: 1, the "),
        ({"answers": []}, "the first of them 'c' (row 2); give them theirs"),
    ],
)
def test_rows_that_cannot_be_scored_are_named_before_anything_is_asked(
    changes: dict[str, Any], message: str, rows_of_docvqa: Any, tmp_path: Path
) -> None:
    rows = [{"questionId": id} for id in "abc"]
    folder = rows_of_docvqa(*rows[:2], rows[2] | changes)
    with pytest.raises(VlmbenchError, match=re.escape(message)):
        vlmbench.evaluate("constant:yes", "docvqa", data_dir=folder, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_without_gold_answers_may_be_left_out(rows_of_docvqa: Any, tmp_path: Path) -> None:
    rows = [{"questionId": "a"}, {"questionId": "b", "answers": None}, {"questionId": "c"}]
    given: dict[str, Any] = {"data_dir": rows_of_docvqa(*rows), "out": tmp_path / "run"}
    (task,) = vlmbench.evaluate("constant:yes", "docvqa", ids=["a", "c"], **given).tasks
    assert (task.num_selected, task.summaries["official"].num_rows) == (2, 2)


def test_a_sample_without_its_picture_fails_unless_none_is_shown(
    rows_of_docvqa: Any, tmp_path: Path
) -> None:
    folder = rows_of_docvqa(
        {"questionId": "a"}, {"questionId": "b", "image": None}, {"questionId": "c", "image": ""}
    )
    seen = vlmbench.evaluate("constant:yes", "docvqa", data_dir=folder, out=tmp_path / "seen")
    logged = {record.id: record for record in records(tmp_path / "seen")}
    assert seen.num_failed == 2
    assert logged["a"].error == ""
    assert logged["b"].error == f"ValueError: {folder} row 1: column 'image' holds no picture"
    assert logged["c"].response is None
    blind: dict[str, Any] = {"blind": True, "data_dir": folder, "out": tmp_path / "blind"}
    assert vlmbench.evaluate("constant:yes", "docvqa", **blind).num_failed == 0
