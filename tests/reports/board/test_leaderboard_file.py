"""results/leaderboard.md, and README's table of a sweep, are what the committed runs come to."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from vlmbench.reports.board import columns
from vlmbench.reports.board.rows import board_of
from vlmbench.reports.costs import figure, shown
from vlmbench.runs.folder.finished import open_run
from vlmbench.runs.folder.sweep import read_sweep, with_runs

ROOT = Path(__file__).parents[3]
FILE = ROOT / "results" / "leaderboard.md"


def arguments() -> list[str]:
    first = FILE.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("Made by `vlmbench board ") and first.endswith("`: do not edit.")
    return shlex.split(first.split("`")[1])[2:]


def test_the_leaderboard_is_current(
    board: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert board(*arguments()) == FILE.read_text(encoding="utf-8"), (
        "make it anew with the command in its first line, > results/leaderboard.md"
    )


def test_the_leaderboard_has_every_committed_run_and_all_baselines() -> None:
    committed = {path.parent.relative_to(ROOT) for path in ROOT.glob("results/runs/*/run.json")}
    given = arguments()
    runs = {Path(argument) for argument in given if argument.startswith("results/runs/")}
    assert runs == committed
    assert given[given.index("--baselines") + 1] == "all"


def test_the_readme_has_the_committed_sweep() -> None:
    sweep = read_sweep(ROOT / "results" / "sweeps" / "tiny")
    assert sweep is not None and len(sweep.runs) == 6
    runs = [open_run(folder) for folder in with_runs([ROOT / "results" / "sweeps" / "tiny"])]
    (table,) = board_of(runs, ()).tables
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(table.columns) == 6 and len(table.rows) == 6
    for row in table.rows:
        mean, flops = columns.mean(table, row), figure("flops")
        assert mean.low is not None and mean.high is not None
        work = shown(flops, columns.cost(table, row, flops))
        assert f"{mean.score:.1f} [{mean.low:.1f}, {mean.high:.1f}], {work} |" in readme, row.name
