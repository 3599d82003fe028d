"""Two finished runs of the constant backend, and command lines in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.cli.main import main

Printed = Callable[..., Any]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, hub_copies: Path) -> tuple[Path, Path]:
    """Folders of runs on TextVQA and MMBench that differ in their answer."""
    root = tmp_path_factory.mktemp("runs")
    for answer in ("yes", "A"):
        vlmbench.evaluate(
            f"constant:{answer}", "textvqa,mmbench", out=root / answer, data_dir=hub_copies
        )
    return root / "yes", root / "A"


@pytest.fixture
def printed_json(capsys: pytest.CaptureFixture[str]) -> Printed:
    """A function: a command line -> the JSON that it prints on stdout."""

    def run(*words: str | Path) -> Any:
        capsys.readouterr()
        code = main([*map(str, words)])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return json.loads(printed.out)

    return run
