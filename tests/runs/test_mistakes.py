"""A user's mistake with `vlmbench run`: one clear line, exit 2, and no run folder touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlmbench.cli.main import main

GOOD = {"--model": "constant:yes", "--tasks": "textvqa"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"--model": None}, "required: --model", id="no model"),
        pytest.param({"--tasks": None}, "required: --tasks", id="no tasks"),
        pytest.param({"--model": "constan:yes"}, "did you mean constant", id="backend"),
        pytest.param({"--model": "constant"}, "lacks its second half", id="half a model"),
        pytest.param({"--model": "idefics2:none"}, "none", id="no checkpoint"),
        pytest.param({"--model": "replay:none.jsonl"}, "none.jsonl", id="no file to replay"),
        pytest.param({"--model": "openai:localhost#m"}, "http", id="no URL"),
        pytest.param({"--tasks": "textvq"}, "did you mean textvqa", id="task"),
        pytest.param({"--tasks": "textvqa,"}, "no task named ''", id="empty task"),
        pytest.param({"--tasks": "textvqa@val"}, "no split named 'val'", id="split"),
        pytest.param({"--tasks": "textvqa,textvqa"}, "named twice", id="task twice"),
        pytest.param({"--limit": "0"}, "--limit is 0", id="limit 0"),
        pytest.param({"--limit": "-3"}, "--limit is -3", id="negative limit"),
        pytest.param({"--limit": "1.5"}, "--limit is 1.5", id="limit above 1"),
        pytest.param({"--limit": "nan"}, "--limit is nan", id="limit is no number"),
        pytest.param({"--limit": "many"}, "'many' is no number", id="limit in words"),
        pytest.param({"--ids": "no-such"}, "no sample named 'no-such'", id="unknown id"),
        pytest.param({"--ids": "@none.txt"}, "cannot read none.txt", id="no file of ids"),
        pytest.param({"--ids=": ""}, "names no sample; leave --ids out", id="empty ids"),
        pytest.param({"--ids": " ,"}, "names no sample; leave --ids out", id="ids of commas"),
        pytest.param({"--ids": "@/dev/null"}, "is no file on disk", id="device of ids"),
        pytest.param({"--ids": "@"}, "@ names no file; write @FILE", id="file without a name"),
        pytest.param({"--where": "subject"}, "write KEY=VALUE", id="where without value"),
        pytest.param({"--where": "subject=Art"}, "no category named 'subject'", id="no category"),
        pytest.param({"--shots": "-1"}, "no whole number from 0", id="shots"),
        pytest.param({"--shots": "1000000"}, "1000000 shots", id="too many shots"),
        pytest.param({"--prompt-style": "idefics"}, "invalid choice: 'idefics'", id="style"),
        pytest.param({"--profile": "officail"}, "invalid choice: 'officail'", id="profile"),
        pytest.param({"--max-new-tokens": "0"}, "no whole number from 1", id="length"),
        pytest.param({"--workers": "0"}, "no whole number from 1", id="no workers"),
        pytest.param({"--workers": "two"}, "no whole number from 1", id="workers in words"),
        pytest.param({"--gpus": "1", "--workers": "1"}, "not allowed with", id="both devices"),
        pytest.param({"--resume": "", "--fresh": ""}, "not allowed with", id="resume and fresh"),
        pytest.param({"--resume": ""}, "holds no run to resume", id="nothing to resume"),
        pytest.param({"--max-failures": "-1"}, "no whole number from 0", id="failures"),
        pytest.param({"--max-failures": "9" * 5000}, "has too many digits", id="many failures"),
        pytest.param({"--data-dir": "none"}, "no folder none", id="data folder"),
        pytest.param({"--tasks-dir": "none"}, "no folder none", id="tasks folder"),
        pytest.param({"--batch-size": "4"}, "no use for", id="setting that does nothing"),
        pytest.param({"--dtype": "int8"}, "invalid choice: 'int8'", id="dtype"),
        pytest.param({"--temperature": "-1"}, "temperature", id="temperature"),
        pytest.param({"--ocr": "", "--tasks": "docvqa"}, "OCR tokens", id="OCR of documents"),
        pytest.param({"--out": "/proc/none"}, "cannot write a run to /proc/none", id="no folder"),
        pytest.param({"--out": "/dev/null"}, "cannot write a run to /dev/null", id="out is a file"),
        pytest.param({"--out": None, "--out=": ""}, "--out: the name is empty", id="empty out"),
        pytest.param({"--out": "~nobody-is/x"}, "no such home folder", id="no home folder"),
        pytest.param({"--lmit": "3"}, "arguments: --lmit 3; here: --limit", id="misspelt flag"),
        pytest.param({"--batch_size": "3"}, "here: --batch-size", id="flag of lmms-eval"),
        pytest.param({"--num_fewshot": "3"}, "here: --shots", id="another flag of lmms-eval"),
        pytest.param({"--xyzzy": "3"}, "--xyzzy 3 (see vlmbench run --help)", id="no such flag"),
        pytest.param({"--seed": str(2**63)}, "below 2**63", id="seed"),
    ],
)
def test_a_wrong_value_is_one_line(
    changes: dict[str, str | None],
    message: str,
    hub_copies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {**GOOD, "--data-dir": str(hub_copies), "--out": str(tmp_path / "out")} | changes
    if changes.keys() & {"--temperature", "--seed"}:
        given["--model"] = "openai:http://127.0.0.1:9#m"
    pairs = [pair for pair in given.items() if pair[1] is not None]
    assert main(["run", *(part for pair in pairs for part in pair if part)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("vlmbench: ")
    assert captured.err.count("\n") == 1, captured.err
    assert captured.out == ""
    assert not list(tmp_path.rglob("responses-*"))


@pytest.mark.parametrize(
    ("rank", "size"),
    [
        ("abc", "2"),
        ("", "2"),
        ("0", "x"),
        ("0", ""),
        ("5", "2"),
        ("2", "2"),
        ("-1", "2"),
        ("1", None),
    ],
)
def test_a_share_that_no_launcher_gives_is_one_line(
    rank: str,
    size: str | None,
    hub_copies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    run = ["run", "--model", "constant:yes", "--tasks", "textvqa", "--limit", "1"]
    for command in ([*run, "--data-dir", str(hub_copies)], ["train", "tiny"]):
        assert main([*command, "--out", str(tmp_path / "out")]) == 2
        message = capsys.readouterr().err
        assert message.startswith("vlmbench: RANK is ") and "WORLD_SIZE is " in message
        assert message.count("\n") == 1
        assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_be_moved_aside_is_one_line(
    hub_copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("earlier")
    (tmp_path / ".lock").mkdir()
    command = ["run", "--model", "constant:yes", "--tasks", "textvqa", "--fresh"]
    assert main([*command, "--data-dir", str(hub_copies), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"vlmbench: {tmp_path}/.lock is no file of a run")
    assert (tmp_path / "run.json").read_text() == "earlier"
