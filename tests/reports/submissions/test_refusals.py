"""What no server should be sent is refused in one line, with the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.backends import registry
from vlmbench.runs.execute import execute
from vlmbench.runs.prepare import prepare
from vlmbench.runs.selection import Selection

Command = Callable[..., Any]
Answered = Callable[..., Path]


def refused(done: Any) -> str:
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    message: str = done.err
    return message


def test_a_limited_run_is_refused_with_the_command_to_finish_it(
    command: Command, hub_copies: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["vlmbench", "run", "--model", "constant:a b", "--tasks", "docvqa@test", "--limit=5"]
    words += ["--data-dir", str(hub_copies), "--fresh", "--out", "elsewhere"]
    model = registry.open_backend("constant:a b")
    for limit in (5, None):
        planned = prepare(
            "constant:a b",
            ["docvqa@test"],
            out=out,
            selection=Selection(limit=limit),
            data_dir=hub_copies,
        )
        execute(planned, backend=model, command=words)
        submit = ("submit", out, "--to", "docvqa-rrc", "--data-dir", hub_copies, "--rehearsal")
        done = command(*submit)
        if limit is None:
            assert done.code == 0
            break
        message = refused(done)
        assert "answers 5 of the 12 samples of docvqa@test (7 not run, 0 failed)" in message
        finish = "vlmbench run --model 'constant:a b' --tasks docvqa@test"
        assert message.endswith(f"to finish: {finish} --data-dir {hub_copies} --out {out}\n")


def test_failed_samples_are_refused_even_in_a_rehearsal(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    folder = answered("mmbench@dev-en", hub_copies, {"501": None})
    done = command("submit", folder, "--to", "mmbench", "--data-dir", hub_copies, "--rehearsal")
    assert "(0 not run, 1 failed)" in refused(done)
    assert "vlmbench.evaluate(" in done.err
    assert not list(folder.glob("mmbench-*"))


def test_the_wrong_split_or_task_is_refused(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    folder = answered("docvqa@validation", hub_copies)
    message = refused(command("submit", folder, "--to", "docvqa-rrc"))
    assert f"docvqa-rrc takes docvqa@test, and {folder} has docvqa@validation" in message
    assert "--rehearsal" in message
    message = refused(command("submit", folder, "--to", "mathvista", "--rehearsal"))
    assert "takes mathvista@testmini or mathvista@test" in message
    assert "add --rehearsal" not in message
    message = refused(command("submit", folder, "--to", "docvqa"))
    assert "no server named 'docvqa'; did you mean docvqa-rrc?" in message


def test_a_part_of_the_data_set_is_refused(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    folder = answered("textvqa@test", hub_copies)
    done = command("submit", folder, "--to", "textvqa-evalai", "--data-dir", hub_copies)
    assert "wants all 5,734 samples of textvqa@test" in refused(done)
    assert "has 12" in done.err


def test_another_copy_of_the_data_set_is_refused(
    answered: Answered,
    command: Command,
    hub_copies: Path,
    hub_copy: Callable[..., Path],
    made_rows: Callable[..., list[dict[str, Any]]],
) -> None:
    folder = answered("docvqa@test", hub_copies)
    fewer = hub_copy("docvqa", "test", made_rows("docvqa", "test")[2:])
    done = command("submit", folder, "--to", "docvqa-rrc", "--data-dir", fewer, "--rehearsal")
    assert "has 2 samples of docvqa@test that" in refused(done)


def test_an_id_that_stands_twice_is_refused(
    command: Command,
    tmp_path: Path,
    hub_copy: Callable[..., Path],
    made_rows: Callable[..., list[dict[str, Any]]],
) -> None:
    rows = made_rows("docvqa", "test")
    vlmbench.evaluate(
        "constant:x", "docvqa@test", out=tmp_path / "run", data_dir=hub_copy("docvqa", "test", rows)
    )
    twice = hub_copy("docvqa", "test", [*rows, rows[0]])
    done = command(
        *("submit", tmp_path / "run", "--to", "docvqa-rrc", "--data-dir", twice, "--rehearsal")
    )
    assert "stands twice in docvqa@test" in refused(done)


def test_mini_is_refused(answered: Answered, command: Command, hub_copies: Path) -> None:
    folder = answered("docvqa@test", hub_copies)
    for path in [*folder.glob("*.json"), *folder.glob("responses-*")]:
        text = path.read_text("utf-8").replace("docvqa@test", "docvqa@mini")
        path.write_text(text, "utf-8")
    done = command("submit", folder, "--to", "docvqa-rrc", "--rehearsal")
    assert "has docvqa@mini, a stand-in that no server takes" in refused(done)


def test_of_several_splits_one_must_be_named(
    command: Command, hub_copies: Path, tmp_path: Path
) -> None:
    names = ["mmbench@dev-en", "mmbench@dev-cn"]
    vlmbench.evaluate("constant:A", names, out=tmp_path / "run", data_dir=hub_copies)
    submit = ("submit", tmp_path / "run", "--to", "mmbench", "--data-dir", hub_copies)
    message = refused(command(*submit, "--rehearsal"))
    assert "name one with --split: dev-en, dev-cn" in message
    done = command(*submit, "--rehearsal", "--split", "dev-cn")
    assert done.path.name == "mmbench-dev-cn.xlsx"
    assert "no @test-en" in refused(command(*submit, "--split", "test-en"))


@pytest.mark.parametrize("out", [".", "missing/file.json"])
def test_an_out_that_cannot_be_written_is_one_line(
    out: str, answered: Answered, command: Command, hub_copies: Path, tmp_path: Path
) -> None:
    folder = answered("docvqa@validation", hub_copies)
    flags = ("--to", "docvqa-rrc", "--rehearsal", "--data-dir", hub_copies)
    message = refused(command("submit", folder, *flags, "--out", tmp_path / out))
    assert str(tmp_path / out) in message


def test_a_folder_without_a_run_is_one_line(command: Command, tmp_path: Path) -> None:
    assert "holds no run" in refused(command("submit", tmp_path, "--to", "mmbench"))


def test_an_existing_file_is_replaced_as_a_whole(
    answered: Answered, command: Command, hub_copies: Path, tmp_path: Path
) -> None:
    folder = answered("docvqa@validation", hub_copies)
    out = tmp_path / "answers.json"
    out.write_text("old")
    flags = ("--to", "docvqa-rrc", "--rehearsal", "--data-dir", hub_copies)
    assert command("submit", folder, *flags, "--out", out).code == 0
    assert len(json.loads(out.read_text("utf-8"))) == 12
    assert [path.name for path in tmp_path.glob("*answers*")] == ["answers.json"]
