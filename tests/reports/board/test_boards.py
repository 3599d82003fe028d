"""What stands beside what on the board, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.reports import controls
from vlmbench.runs.folder.finished import open_run

Made = Callable[..., Path]


def rows(board: dict[str, Any], title: str = "0 shots") -> dict[str, dict[str, Any]]:
    """Row name to its cells by TASK@SPLIT, of one table."""
    (table,) = (table for table in board["tables"] if table["title"] == title)
    names = [f"{column['task']}@{column['split']}" for column in table["columns"]]
    return {
        row["system"]: {
            name: cell for name, cell in zip(names, row["cells"], strict=True) if cell is not None
        }
        for row in table["rows"]
    }


def test_a_cell_has_what_the_run_has(made: Made, board_json: Any) -> None:
    folder = made("yes")
    cells = rows(board_json(folder, "--baselines", "none"))["constant:yes"]
    run = open_run(folder)
    assert set(cells) == {task.name for task in run.tasks}
    for task in run.tasks:
        summary, cell = task.summaries["official"], cells[task.name]
        assert summary.estimate is not None
        assert cell["score"] == pytest.approx(100 * summary.estimate.mean, abs=1e-4)
        assert cell["low"] == pytest.approx(100 * summary.estimate.low, abs=1e-4)
        assert cell["high"] == pytest.approx(100 * summary.estimate.high, abs=1e-4)
        assert (cell["n"], cell["rows"]) == (summary.estimate.n, summary.num_rows)
        assert (cell["failed"], cell["unparsed"]) == (summary.failed, summary.unparsed)
    assert cells["mmbench@dev-en"]["unparsed"] > 0


def test_tokens_of_an_image_come_from_the_log(
    made: Made, edited: Callable[..., Path], board_json: Any, board: Any
) -> None:
    folder = edited(made("A", "textvqa"), ('"visual_tokens":null', '"visual_tokens":64'))
    cells = rows(board_json(folder, "--baselines", "none"))["constant:A"]
    assert cells["textvqa@validation"]["tokens_per_image"] == 64
    assert "64 tokens/image" in board(folder, "--baselines", "none", "--format", "markdown")


def test_reports_stand_beside_runs_of_the_same_split_and_shots(made: Made, board_json: Any) -> None:
    found = rows(board_json(made("A")))
    assert found["Idefics2-8B (64 tok)"]["textvqa@validation"]["score"] == 70.4
    assert "docvqa@test" not in found["Idefics2-8B (64 tok)"]
    assert "Idefics2-8B-base" not in found, "its results are with 8 shots"
    assert "GPT-4V" in found and "Flamingo-9B" not in found


@pytest.mark.parametrize(
    "asking",
    [
        pytest.param({"shots": 2}, id="shots"),
        pytest.param({"ocr": True}, id="OCR tokens in the prompt"),
    ],
)
def test_reports_do_not_stand_beside_what_was_asked_otherwise(
    made: Made, board_json: Any, asking: dict[str, Any]
) -> None:
    board = board_json(made("A", "textvqa", **asking))
    assert [row["system"] for table in board["tables"] for row in table["rows"]] == [
        open_run(made("A", "textvqa", **asking)).title
    ]


def test_other_harnesses_and_unknown_shots_have_tables_of_their_own(board_json: Any) -> None:
    board = board_json("--baselines", "all")
    for table in board["tables"]:
        kinds = {(c["shots"], c["fine_tuned"], c["harness"]) for c in table["columns"]}
        assert len(kinds) == 1
    assert rows(board)["Idefics2-8B"]["mmmu@validation"]["score"] == 45.3
    harness = rows(board, "0 shots, asked and scored by VLMEvalKit")
    assert harness["Idefics2-8B"]["mmmu@validation"]["score"] == 45.2
    assert "VILA-13B" not in rows(board)
    assert "VILA-13B" in rows(board, "shots not stated")


def test_of_several_reports_the_most_trusted_is_shown(board_json: Any) -> None:
    cell = rows(board_json("--baselines", "InternVL2-8B"))["InternVL2-8B"]["mmmu@validation"]
    assert (cell["score"], cell["reported"]["trust"]) == (49.3, "authors")
    assert [(other["score"], other["trust"]) for other in cell["also"]] == [(51.2, "benchmark")]


def test_mini_never_shares_a_table_with_the_real_task(
    made: Made, edited: Callable[..., Path], board_json: Any
) -> None:
    mini = edited(made("yes", "textvqa"), ("textvqa@validation", "textvqa@mini"))
    board = board_json(made("A", "textvqa"), mini, "--baselines", "all")
    title = "Embedded stand-ins, 0 shots"
    assert set(rows(board, title)) == {"constant:yes"}
    assert set(rows(board, title)["constant:yes"]) == {"textvqa@mini"}
    assert "textvqa@mini" not in {name for cells in rows(board).values() for name in cells}


def test_every_drawn_split_counts_as_a_stand_in(
    made: Made, edited: Callable[..., Path], board_json: Any
) -> None:
    folder = made("yes", "textvqa")
    source = open_run(folder).manifest.data["textvqa@validation"].source
    drawn = edited(
        folder, ("textvqa@validation", "textvqa@easy"), (source, "vlmbench.mini.easy_vqa")
    )
    (table,) = board_json(drawn)["tables"]
    assert table["title"] == "Embedded stand-ins, 0 shots"


@pytest.mark.parametrize(
    ("asking", "changes", "what"),
    [
        pytest.param({"shots": 2}, [], "shots (0 and 2)", id="shots"),
        pytest.param({}, [('"style": "idefics2"', '"style": "other"')], "prompt style", id="style"),
        pytest.param(
            {},
            [('"style_version": 1', '"style_version": 2')],
            "prompt style (idefics2 and idefics2 v2)",
            id="style's version",
        ),
        pytest.param({}, [('"version": 1', '"version": 2')], "task version (1 and 2)", id="task"),
        pytest.param({"ocr": True}, [], "with OCR tokens", id="OCR tokens"),
    ],
)
def test_mixing_is_refused_and_shown_apart_on_demand(
    made: Made,
    edited: Callable[..., Path],
    mistake: Any,
    board_json: Any,
    asking: dict[str, Any],
    changes: list[tuple[str, str]],
    what: str,
) -> None:
    other = edited(made("yes", "textvqa", **asking), *changes)
    given = (made("A", "textvqa"), other, "--baselines", "all", "--task", "textvqa@validation")
    error = mistake("board", *given)
    assert what in error and "on textvqa@validation" in error and "--allow-mixed" in error
    board = board_json(*given, "--allow-mixed")
    columns = [(t["title"], i) for t in board["tables"] for i, _ in enumerate(t["columns"])]
    ours = {
        (table["title"], index)
        for table in board["tables"]
        for row in table["rows"]
        for index, cell in enumerate(row["cells"])
        if row["kind"] == "run" and cell
    }
    assert len(ours) == 2 and ours <= set(columns)


def test_controls_stand_beside_mini_runs(
    made: Made, board_json: Any, board: Any, mistake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = controls.training_samples
    monkeypatch.setattr(controls, "training_samples", lambda task: training(task, 5))
    run = made("yes", "textvqa@mini", data_dir=None)
    (table,) = board_json(run, "--controls")["tables"]
    assert [(row["system"], row["kind"]) for row in table["rows"]] == [
        ("constant:yes", "run"),
        *((name, "control") for name in ("chance", "majority", "question only")),
    ]
    ours, *others = (row["cells"][0] for row in table["rows"])
    assert {(cell["n"], cell["rows"]) for cell in others} == {(ours["n"], ours["rows"])}
    assert all(cell["low"] <= cell["score"] <= cell["high"] for cell in others)
    text = board(run, "--controls", "--format", "markdown")
    assert "| majority (control) |" in text
    assert "different copies" not in text and "not of the same samples" not in text
    assert "run TASK@mini" in mistake("board", made("A", "textvqa"), "--controls")


def test_a_part_of_a_split_says_so(made: Made, board: Any) -> None:
    given = (made("A", "textvqa"), made("yes", "textvqa", limit=5), "--baselines", "none")
    text = board(*given, "--format", "markdown")
    assert "n 5 (5 of 12 rows)" in text
    assert "are not of the same samples" in text


def test_other_rows_under_the_same_name_are_told(
    made: Made, edited: Callable[..., Path], board: Any
) -> None:
    first = made("A", "textvqa")
    fingerprint = open_run(first).tasks[0].data.fingerprint
    other = edited(made("yes", "textvqa"), (fingerprint, "0" * 32))
    assert "read different copies of its rows" in board(first, other, "--baselines", "none")


def test_hidden_answers_are_told(made: Made, board: Any) -> None:
    text = board(made("A", ["textvqa@test", "docvqa"]), "--baselines", "none")
    assert "also ran textvqa@test, whose answers are not public" in text


def test_profiles_are_columns_of_their_own(made: Made, board_json: Any) -> None:
    found = board_json(made("yes"), "--profile", "strict")
    (table,) = found["tables"]
    assert {column["profile"] for column in table["columns"]} == {"strict"}
    assert [row["system"] for row in table["rows"]] == ["constant:yes"], "reports have none"


def test_a_profile_that_a_task_lacks_is_official_there(made: Made, board_json: Any) -> None:
    found = board_json(made("A", ["vqav2", "docvqa"]), "--profile", "vlmevalkit")
    profiles = {c["task"]: c["profile"] for t in found["tables"] for c in t["columns"]}
    assert profiles == {"vqav2": "official", "docvqa": "vlmevalkit"}


def test_a_run_given_twice_is_refused(made: Made, mistake: Any) -> None:
    first = made("A", "textvqa")
    assert "is given twice" in mistake("board", first, first)


def test_equal_titles_have_their_folders(
    made: Made, edited: Callable[..., Path], board_json: Any
) -> None:
    first = made("A", "textvqa")
    second = edited(first)
    names = rows(board_json(first, second, "--baselines", "none"))
    assert set(names) == {f"constant:A ({first.name})", f"constant:A ({second.name})"}


def test_sorting_is_stable_and_puts_what_is_unknown_last(made: Made, board_json: Any) -> None:
    given = (made("A"), made("yes"))

    def names(*arguments: str) -> list[str]:
        return list(rows(board_json(*given, *arguments)))

    plain, by_score = names(), names("--sort", "textvqa")
    scores = {
        name: cells["textvqa@validation"]["score"]
        for name, cells in rows(board_json(*given)).items()
        if "textvqa@validation" in cells
    }
    having = [name for name in plain if name in scores]
    assert by_score == sorted(having, key=lambda name: -scores[name]) + [
        name for name in plain if name not in scores
    ]
    assert names("--sort", "name") == sorted(plain, key=str.lower)
    by_params = names("--sort", "params")
    assert by_params[0] == "SmolVLM-256M"
    unknown = [name for name in plain if name in ("constant:A", "constant:yes", "GPT-4V")]
    assert [name for name in by_params if name in unknown] == unknown


def test_each_table_is_sorted_by_its_own_column(board_json: Any) -> None:
    for table in board_json("--baselines", "all", "--sort", "textvqa")["tables"]:
        places = [i for i, column in enumerate(table["columns"]) if column["task"] == "textvqa"]
        cells = [row["cells"][places[0]] for row in table["rows"]] if places else []
        found = [cell["score"] if cell else -1 for cell in cells]
        assert found == sorted(found, reverse=True), table["title"]


def test_conditions_leave_the_cells_for_which_they_hold(made: Made, board_json: Any) -> None:
    given = (made("A"), "--baselines", "all")

    def left(condition: str) -> list[tuple[str, str, float]]:
        return [
            (name, column, cell["score"])
            for table in board_json(*given, "--where", condition)["tables"]
            for name, cells in rows({"tables": [table]}, table["title"]).items()
            for column, cell in cells.items()
        ]

    small = {name for name, _, _ in left("params<3e9")}
    assert "SmolVLM-2.2B" in small and not {"Idefics2-8B", "GPT-4V", "constant:A"} & small
    assert {name for name, _, _ in left("kind=run")} == {"constant:A"}
    assert {score for _, _, score in left("not verified")} == {
        *(62.6, 79.9, 80.8, 66.6, 70.3, 77.0, 73.6, 91.6, 87.5, 74.4)
    }
    assert {name for name, _, _ in left("docvqa@test>90 and kind=open")} == {
        *("Qwen2-VL-7B", "Qwen2-VL-2B", "InternVL2-8B")
    }
    assert {name for name, _, _ in left("source=mmmu-board and mmmu>60")} == {
        "Gemini 1.5 Pro (0523)"
    }
    assert all("8B" in name for name, _, _ in left("system=idefics2-8b*"))


def test_distances_are_to_the_reference_row(made: Made, board_json: Any) -> None:
    found = board_json(made("A"), made("yes"), "--reference", "constant:yes", "--task", "textvqa")
    table = rows(found)
    reference = table["constant:yes"]["textvqa@validation"]["score"]
    assert found["reference"] == "constant:yes"
    assert reference > 0
    for cells in table.values():
        (cell,) = cells.values()
        assert cell["delta"] == pytest.approx(cell["score"] - reference, abs=1e-3)


def test_a_reference_may_be_left_out_of_the_table(made: Made, board_json: Any) -> None:
    given = ("--reference", "Idefics2-8B", "--where", "kind=run", "--task", "textvqa")
    (cells,) = rows(board_json(made("A"), *given)).values()
    assert cells["textvqa@validation"]["delta"] == pytest.approx(-73.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--baselines", "none"], "nothing to show", id="nothing"),
        pytest.param(
            ["--baselines", "Idefics2-8B-bass"], "did you mean Idefics2-8B-base", id="baseline"
        ),
        pytest.param(["--task", "dcvqa"], "did you mean docvqa", id="task"),
        pytest.param(["--sort", "score"], "no task named 'score'", id="sort key"),
        pytest.param(["--reference", "GPT4V"], "did you mean GPT-4V", id="reference"),
        pytest.param(
            ["--where", "params<"], "'<' is out of place (at character 7)", id="condition"
        ),
        pytest.param(["--where", "docqa>1"], "did you mean docvqa", id="fact"),
        pytest.param(["--where", "params>1e15"], "no cell is left", id="nothing left"),
        pytest.param(["--out", "board.pdf"], "give --format", id="ending"),
        pytest.param(["--out", "/nowhere/board.md"], "cannot write", id="place"),
        pytest.param(["/nowhere"], "holds no run", id="no run"),
        pytest.param(["--format", "yaml"], "invalid choice", id="format"),
    ],
)
def test_mistakes_are_one_line(mistake: Any, arguments: list[str], message: str) -> None:
    assert message in mistake("board", *arguments)


@pytest.mark.parametrize("name", ["run.json", "scores-textvqa@validation.jsonl"])
def test_no_result_replaces_a_file_of_a_run(
    made: Made, edited: Callable[..., Path], mistake: Any, tmp_path: Path, name: str
) -> None:
    run, link = edited(made("A", "textvqa")), tmp_path / "link.json"
    own = run / name
    link.symlink_to(own)
    before = own.read_bytes()
    for words in (
        ["board", run, "--format", "json"],
        ["export", run, "--to", "model-index"],
        ["submit", run, "--to", "docvqa-rrc"],
        ["score", "--task", "textvqa", "--predictions", tmp_path / "none.jsonl"],
    ):
        for out in (own, link):
            assert f"--out: {out} is a run's own file" in mistake(*words, "--out", out)
    assert own.read_bytes() == before


def test_a_full_disk_leaves_no_half_of_a_result(
    made: Made, mistake: Any, tmp_path: Path, full_disk: Callable[[], Any]
) -> None:
    run, out = made("A", "textvqa"), tmp_path / "out.html"
    for words in (["board", run], ["export", run, "--to", "model-index"]):
        with full_disk():
            assert f"cannot write {out}: " in mistake(*words, "--out", out)
    assert not list(tmp_path.iterdir())


def test_a_path_may_begin_with_the_home_folder(
    made: Made, board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert board(made("A", "textvqa"), "--out=~/board.md") == ""
    assert (tmp_path / "board.md").exists()
