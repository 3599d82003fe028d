"""`vlmbench sweep`: a run for each combination, one table, and nothing asked twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlmbench.cli.arguments import model_settings
from vlmbench.cli.commands import sweep
from vlmbench.cli.main import main, parser_of
from vlmbench.errors import VlmbenchError
from vlmbench.reports.plots import series
from vlmbench.runs.folder.finished import open_run
from vlmbench.runs.folder.sweep import read_sweep

MODEL = ("--model", "constant:A", "--tasks", "mmbench@mini,mmmu@mini", "--limit", "8")


def swept(out: Path, *words: str) -> int:
    return main(["sweep", *MODEL, "--out", str(out), *words])


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps") / "one"
    over = ("--over", "max_new_tokens=4,8", "--over", "prompt_style=idefics2,lmms")
    assert swept(out, *over) == 0
    return out


def test_every_combination_is_a_run_of_the_same_samples(parent: Path) -> None:
    found = read_sweep(parent)
    assert found is not None
    assert list(found.runs) == [
        f"max_new_tokens={tokens},prompt_style={style}"
        for tokens in (4, 8)
        for style in ("idefics2", "lmms")
    ]
    runs = {name: open_run(parent / name) for name in found.runs}
    for name, values in found.runs.items():
        prompt = runs[name].manifest.prompt
        assert str(prompt.max_new_tokens) == values["max_new_tokens"]
        assert prompt.style == values["prompt_style"]
    ids = [[record.id for record in run.tasks[0].responses()] for run in runs.values()]
    assert len(ids[0]) == 8 and all(one == ids[0] for one in ids)


def test_the_same_command_asks_nothing_twice_and_prints_the_table_alone(
    parent: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no name is wrapped
    logs = sorted(parent.glob("*/responses-*.jsonl"))
    before = [log.read_bytes() for log in logs]
    capsys.readouterr()
    over = ("--over", "max_new_tokens=4,8", "--over", "prompt_style=idefics2,lmms")
    assert swept(parent, *over) == 0
    captured = capsys.readouterr()
    assert [log.read_bytes() for log in logs] == before
    assert captured.out.startswith("Embedded stand-ins, 0 shots\n")
    assert "at most 4 new tokens" in captured.out
    assert "vlmbench: run 4 of 4: max_new_tokens=8, prompt_style=lmms" in captured.err


def test_more_values_add_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert swept(tmp_path / "s", "--over", "max-new-tokens=4", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["tables"][0]["rows"]) == 1
    assert swept(tmp_path / "s", "--over", "max_new_tokens=8,default", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["tables"][0]["rows"]) == 3
    found = read_sweep(tmp_path / "s")
    assert found is not None and found.over[0].values == ("4", "8", "default")
    assert (
        open_run(tmp_path / "s" / "max_new_tokens=default").manifest.prompt.max_new_tokens is None
    )


def test_the_longest_axis_makes_the_curves(parent: Path) -> None:
    folders = [parent / name for name in (read_sweep(parent) or pytest.fail()).runs]
    points = series.series_of([open_run(folder) for folder in folders])
    assert {point.curve.setting for point in points if point.curve} == {"prompt_style"}
    curves = [point.curve and point.curve.others for point in points]
    assert curves == ["max_new_tokens=4"] * 2 + ["max_new_tokens=8"] * 2
    assert [(point.short, point.place) for point in points] == [("idefics2", 0), ("lmms", 1)] * 2


def test_its_folder_stands_for_its_runs(
    parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = ["--allow-mixed", "--baselines", "none", "--json"]
    assert main(["board", str(parent), *words]) == 0
    found = json.loads(capsys.readouterr().out)["tables"]
    assert len({row["system"] for table in found for row in table["rows"]}) == 4
    assert main(["view", str(parent), "--no-plots", "--out", str(tmp_path / "report")]) == 0
    assert main(["plot", str(parent), "--kind", "radar", "--out", str(tmp_path)]) == 2
    assert "it takes 3 scored tasks, and all runs have 2" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert swept(tmp_path / "s", "--over", "max_new_tokens=4,8", "--dry-run") == 0
    assert not (tmp_path / "s").exists()
    assert capsys.readouterr().err.count("samples") >= 2


def point(model: str, *over: str) -> dict[str, Any]:
    """What a run of a sweep sets of its model."""
    args = parser_of("sweep").parse_args(
        ["--model", model, "--tasks", "docvqa", *(word for one in over for word in ("--over", one))]
    )
    (values,) = sweep._combinations(sweep._axes(args.over))
    return dict(model_settings(sweep._point(args, Path("x"), values)))


@pytest.mark.parametrize(
    ("over", "settings"),
    [
        (["split=on"], {"split_images": True}),
        (["split=off"], {"split_images": False}),
        (["split_images=default"], {}),
        (["max_side=48"], {"max_side": 48}),
        (["max-side=default"], {}),
        (["deterministic=on"], {"deterministic": True}),
        (["deterministic=off"], {}),
        (["dtype=bfloat16"], {"dtype": "bfloat16"}),
        (["keep_visual_tokens=0.5", "seed=3"], {"keep_visual_tokens": 0.5, "seed": 3}),
    ],
)
def test_settings_are_those_of_the_flags(over: list[str], settings: dict[str, Any]) -> None:
    assert point("idefics2:tiny", *over) == settings


def test_what_no_flag_is_called_is_of_the_image_processor() -> None:
    over = ("size.longest_edge=756", "do_image_splitting=false", "dtype=float32")
    assert point("transformers:tiny", *over) == {
        "dtype": "float32",
        "processor_arg": {"size.longest_edge": 756, "do_image_splitting": False},
    }


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("split", "write NAME=VALUE,VALUE"),
        ("split=", "write NAME=VALUE,VALUE"),
        ("split=on,,off", "write NAME=VALUE,VALUE"),
        ("split=on,on", "a value is given twice"),
        ("split=maybe", "it is on or off, not 'maybe'"),
        ("max_side=0", "max_side is 0, must be a whole number from 1"),
        ("max_side=big", "--over max_side: "),
        ("dtype=int8", "no dtype named 'int8'"),
        ("max_sides=48", "no setting named 'max_sides' to sweep --over; did you mean max_side"),
        ("tasks=a,b", "no setting named 'tasks'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], over: str, message: str
) -> None:
    words = ["sweep", "--model", "idefics2:tiny", "--tasks", "docvqa@mini", "--over", over]
    assert main([*words, "--out", str(tmp_path / "s")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err
    assert not (tmp_path / "s").exists()


def test_another_sweep_in_the_folder_is_refused(
    parent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert swept(parent, "--over", "shots=0,1") == 2
    assert "holds another sweep, of constant:A over max_new_tokens, prompt_style" in (
        capsys.readouterr().err
    )


def test_a_damaged_file_is_one_line(parent: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(VlmbenchError, match="is damaged"):
        read_sweep(tmp_path)
    assert read_sweep(tmp_path / "nowhere") is None
