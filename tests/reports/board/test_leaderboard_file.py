"""results/leaderboard.md is what its own first line makes of the committed runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

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
