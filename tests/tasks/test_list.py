"""`vlmbench list`: what it shows, and that it is quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlmbench.cli.main import main

HEAVY = (
    "torch",
    "datasets",
    "transformers",
    "huggingface_hub",
    "numpy",
    "pandas",
    "pyarrow",
    "PIL",
)


def test_the_table_has_a_line_a_split_and_fits_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["task@split", "metric", "answers", "source", "rows"]
    assert len(lines) == 25 and max(map(len, [header, *lines])) <= 100
    assert [line.split() for line in lines if line.startswith(("vqav2@v", "docvqa@t"))] == [
        ["docvqa@test", "anls", "hidden", "lmms-lab-encoder/DocVQA", "5,188"],
        ["vqav2@validation", "vqa_accuracy", "public", "lmms-lab-encoder/VQAv2", "214,354"],
    ]


def test_json_has_every_source_with_its_pin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    splits = {f"{s['task']}@{s['split']}": s for s in json.loads(capsys.readouterr().out)}
    assert len(splits) == 25
    revision = "32665d35052eb4a6d4414851c3c829a72754915a"
    assert splits["vqav2@test-std"] == {
        "task": "vqav2",
        "split": "test-std",
        "title": "VQAv2",
        "version": 1,
        "metric": "vqa_accuracy",
        "profiles": ["official", "strict", "lmms"],
        "size": 447_793,
        "answers": "hidden",
        "sources": [
            {"id": f"{home}/VQAv2", "revision": revision, "files": "data/test-*.parquet"}
            for home in ("lmms-lab-encoder", "lmms-lab")
        ],
        "columns": ["question_id", "image_id", "question", "answers", "image"],
        "train": "train",
    }
    address = "https://opencompass.openxlab.space/utils/benchmarks/MMBench/MMBench_DEV_EN_V11.tsv"
    assert splits["mmbench@dev-en-v1.1"]["sources"] == [
        {"url": address, "md5": "30c05be8f2f347a50be25aa067248184"}
    ]
    assert {s["answers"] for s in splits.values()} == {"public", "hidden", "some sources"}


def test_it_loads_nothing_heavy() -> None:
    program = (
        "import sys; from vlmbench.cli.main import main; code = main(['list']);"
        f"sys.exit(code or ', '.join(set({HEAVY}) & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, f"loaded: {result.stderr}"


def test_it_is_quick() -> None:
    """0.2 s of processor time on a free core; the best of three may take twice that and more."""

    def seconds() -> float:
        before = os.times()
        command = [sys.executable, "-m", "vlmbench", "list"]
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        children = (after.children_user, after.children_system)
        return sum(children) - before.children_user - before.children_system

    assert min(seconds() for _ in range(3)) < 0.5


def test_a_bad_task_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("TASK = None")
    assert main(["list", "--tasks-dir", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"vlmbench: {tmp_path / 'mine.py'} defines no TASK = Task(...)\n"


def test_a_task_without_sources_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "from vlmbench import data, task\n"
        "TASK = task.Task(name='mine', metric='m', splits=(data.Split(name='test'),), read=print,"
        " score=print, form='short_answer')"
    )
    assert main(["list", "--tasks-dir", str(tmp_path)]) == 0
    (line,) = [s for s in capsys.readouterr().out.splitlines() if s.startswith("mine")]
    assert line.split() == ["mine@test", "m", "public", "-", "?"]


@pytest.mark.parametrize("command", [["list"], ["--help"]], ids=" ".join)
def test_an_output_that_is_full_is_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(command) == 2
    message = "vlmbench: cannot write to standard output: No space left on device\n"
    assert capsys.readouterr().err == message


def test_an_output_that_is_closed_takes_nothing() -> None:
    code = "import sys; from vlmbench.cli.main import main; assert sys.stdout is None; "
    command = [sys.executable, "-c", code + "sys.exit(main(['board', '--task', 'docvqa']))"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
