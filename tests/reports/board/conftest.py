"""Runs of the constant backend, as folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.cli.main import main

TASKS = ["textvqa", "docvqa", "mmbench"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, hub_copies: Path) -> Callable[..., Path]:
    """A function: a constant answer, tasks and how they are asked -> the folder of that run."""
    root = tmp_path_factory.mktemp("made")
    folders: dict[str, Path] = {}

    def make(answer: str, tasks: Any = TASKS, **asking: Any) -> Path:
        key = f"{answer} {tasks} {asking}"
        if key not in folders:
            folder = root / f"run-{len(folders)}"
            given = {"data_dir": hub_copies} | asking
            vlmbench.evaluate(f"constant:{answer}", tasks, out=folder, **given)
            folders[key] = folder
        return folders[key]

    return make


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A function: a run's folder, old and new text -> a copy in which one stands for the other."""

    def edit(folder: Path, *changes: tuple[str, str]) -> Path:
        copy = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}-of-{folder.name}"
        shutil.copytree(folder, copy)
        for path in [*copy.glob("*.json*")]:
            text, name = path.read_text(), path.name
            for old, new in changes:
                text, name = text.replace(old, new), name.replace(old, new)
            path.unlink()
            path.with_name(name).write_text(text)
        return copy

    return edit


@pytest.fixture
def board(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """A function: arguments of `vlmbench board` -> what it prints, 200 columns wide."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> str:
        capsys.readouterr()
        code = main(["board", *map(str, arguments)])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return run


@pytest.fixture
def board_json(board: Callable[..., str]) -> Callable[..., dict[str, Any]]:
    def run(*arguments: str | Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(board(*arguments, "--format", "json"))
        return found

    return run


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function: a command line that is wrong -> its one line on stderr."""

    def run(*arguments: str | Path) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("vlmbench: ") and printed.err.count("\n") == 1
        return printed.err

    return run
