"""A wrong command line is one line on stderr with what is wrong, and exit code 2."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

import pytest

from vlmbench.cli.main import main

RUN = ("run", "--model", "constant:A", "--tasks", "textvqa@mini")
TINY = ("run", "--model", "idefics2:tiny", "--tasks", "textvqa@mini", "--out", "out")
HUGE = "9" * 5000
LONG = "x" * 5000


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with files that are not what they are given for."""
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_bytes(b'{"a": "\xe9"}')
    (tmp_path / "nested" / "run.json").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([""], "no command named ''; there are: ask, bench", id="empty command"),
        pytest.param(["rum"], "no command named 'rum'; did you mean run?", id="misspelt command"),
        pytest.param([*RUN, "--data-dir", LONG], "xxx... is too long for a name", id="long name"),
        pytest.param([*RUN, "--out", "a\0b"], "no null character", id="null character"),
        pytest.param([*RUN, "--limit", HUGE], "999... has too many digits", id="huge limit"),
        pytest.param([*RUN, "--limit", "-3"], "--limit is -3; give", id="negative limit"),
        pytest.param([*RUN, "--limit", "--out"], "expected one argument", id="no value"),
        pytest.param([*RUN, "--batch-size", HUGE], "999...', must be a whole", id="huge batch"),
        pytest.param([*RUN, "--seed", "1.5"], "is '1.5', must be a whole number", id="half a seed"),
        pytest.param([*RUN, "--temperature", "x"], "is 'x', must be a number from", id="no number"),
        pytest.param([*RUN, "--workers", "100000"], "are too many for", id="many workers"),
        pytest.param([*RUN, "--gpus", "99999999999"], "are too many for", id="many GPUs"),
        pytest.param(
            [*RUN, "--ids", "@folder"], "cannot read folder: Is a dir", id="ids: a folder"
        ),
        pytest.param([*RUN, "--ids", "@latin1.txt"], "latin1.txt is not UTF-8", id="ids: no text"),
        pytest.param([*RUN, "--backend-arg", "x"], "write NAME=VALUE", id="half a setting"),
        pytest.param(
            [*RUN, "--backend-arg", "x=1"], "no setting named 'x'; there are", id="setting"
        ),
        pytest.param([*RUN, "--backend-arg", "seed=1"], "it uses none", id="useless setting"),
        pytest.param(
            [*TINY, "--backend-arg", "seed=x"], "seed is 'x', must be", id="wrong setting"
        ),
        pytest.param(
            [*TINY, "--gpus", "2", "--device", "cpu"], "contradict each", id="GPU and CPU"
        ),
        pytest.param(["board", "damaged"], "damaged/run.json is damaged", id="a damaged run"),
        pytest.param(
            ["board", "nested"], "nested/run.json: Is a directory", id="run.json: a folder"
        ),
        pytest.param(["board", "latin1.txt"], "Not a directory", id="a file for a run"),
        pytest.param(["board", "--tasks", ""], "no task named ''", id="empty task"),
        pytest.param(["board", "--sort", ""], "no task named ''", id="empty sort key"),
        pytest.param(["board", "--reference", ""], "no row named ''", id="empty reference"),
        pytest.param(["compare", "folder"], "are required: B", id="one run to compare"),
        pytest.param(
            ["score", "--tasks", "vqav2,docvqa", "--predictions", "latin1.txt"],
            "a file holds the answers to one task",
            id="a file for two tasks",
        ),
        pytest.param(
            ["bench", "--model", "constant:A", "--sides", "9999999999"],
            "write numbers of pixels up to 10000",
            id="huge pictures",
        ),
        pytest.param(["bench", "--model", "constant:A", "--sides", HUGE], "pixels", id="huge side"),
        pytest.param(
            ["bench", "--model", "constant:A", "--workloads", ""],
            "no workload named ''",
            id="empty workload",
        ),
        pytest.param(
            ["train", "tiny", "--out", "t", "--processes", "100000"],
            "100000 processes are too many",
            id="many processes",
        ),
        pytest.param(
            ["train", "tiny", "--out", "t", "--steps", "-1"],
            "'-1' is no whole number from 1",
            id="steps",
        ),
        pytest.param(
            ["train", "tiny", "--out", "latin1.txt"], "File exists", id="file for a folder"
        ),
    ],
)
def test_it_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.startswith("vlmbench: ")
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 1500  # what is wrong is repeated in part


def test_gpus_that_are_not_there_are_not_replaced_by_the_cpu(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert main([*TINY, "--gpus", "1", "--limit", "1"]) == 2
    assert "no device 'cuda'" in capsys.readouterr().err
    assert not list(place.rglob("scores-*"))


def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(tasks_dir: Path | None) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", "tasks/closed")

    monkeypatch.setattr("vlmbench.task.loading.every", refuse)
    assert main(["list"]) == 2
    assert capsys.readouterr() == ("", "vlmbench: tasks/closed: Permission denied\n")


def test_an_error_of_the_system_that_names_no_file_is_a_bug_and_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(tasks_dir: Path | None) -> NoReturn:
        raise OSError("nothing that a user did")

    monkeypatch.setattr("vlmbench.task.loading.every", fail)
    with pytest.raises(OSError, match="nothing that a user did"):
        main(["list"])
