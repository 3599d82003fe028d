"""lmms-eval's tasks that our runner cannot score are refused in one line, before a model loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

REFUSED = [
    ("tiny_judged", (), "is scored with the help of a language model (OpenAI)"),
    ("tiny_choice", (), "is a task of multiple_choice"),
    ("tiny_vqa", ("--shots", "2"), "words its own prompts"),
]


def test_what_we_cannot_score_is_refused(harness: Any, tasks_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    same = ("run", "--model", "constant:yes", "--tasks-dir", tasks_folder, "--out", out)
    commands = [(*same, "--tasks", f"lmms:{task}", *more) for task, more, _ in REFUSED]
    for (code, stderr), (_, _, says) in zip(harness.refusals(commands), REFUSED, strict=True):
        last = stderr.strip().splitlines()[-1]
        assert code == 2
        assert last.startswith("vlmbench: ") and says in last, stderr
    assert not out.exists()


def test_without_lmms_eval_the_way_out_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from vlmbench.cli.main import main

    for name in [name for name in sys.modules if name.partition(".")[0] == "lmms_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    assert main(["run", "--model", "constant:yes", "--tasks", "lmms:mme"]) == 2
    assert "lmms:mme needs lmms-eval" in capsys.readouterr().err
