"""Folders that hold somebody else's files: nothing of theirs is written to, moved or cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vlmbench.cli.main import main
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder import layout
from vlmbench.runs.folder.judge_log import JudgeLog
from vlmbench.runs.folder.responses import Log, records

THEIRS = '{"question_id":1,"answer":"precious"}'
LINE = b'{"task": "t@s", "id": "1", "response": "x"}\n'


@pytest.fixture
def run(hub_copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function: flags -> what a run to tmp_path/out says on stderr; it must be refused."""

    def refused(*flags: str) -> str:
        command = ["run", "--model", "constant:yes", "--tasks", "textvqa", "--limit", "1"]
        command += ["--workers", "1", "--data-dir", str(hub_copies)]
        assert main([*command, "--out", str(tmp_path / "out"), *flags]) == 2
        said = capsys.readouterr().err
        assert said.startswith("vlmbench: ") and said.count("\n") == 1, said
        return said

    return refused


@pytest.mark.parametrize("flag", [(), ("--resume",), ("--fresh",)])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("responses-gpt4.jsonl", THEIRS),
        ("responses-0.jsonl", THEIRS),
        ("responses-0.jsonl", "no JSON at all"),
        ("usage-0.jsonl", THEIRS),
        ("scores-textvqa@validation.jsonl", THEIRS),
        ("run.json", '{"name": "my run", "schema_version": 1}'),
        ("run.json", "not JSON"),
        (".lock", "of another program"),
    ],
)
def test_a_folder_without_our_mark_is_refused_and_untouched(
    run: Callable[..., str], tmp_path: Path, flag: tuple[str, ...], name: str, content: str
) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir()
    path.write_text(content)
    before = path.stat().st_mtime_ns
    assert name in run(*flag) or flag == ("--resume",)
    assert path.read_text() == content and path.stat().st_mtime_ns == before
    assert [p.name for p in tmp_path.iterdir() if p.name != "hub"] == ["out"]


@pytest.mark.parametrize(
    "name", ["run.json", ".lock", "responses-0.jsonl", "usage-0.jsonl", "responses-x.jsonl"]
)
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder"])
def test_links_pipes_and_folders_under_our_names_are_refused(
    run: Callable[..., str], tmp_path: Path, name: str, kind: str
) -> None:
    target, out = tmp_path / "precious", tmp_path / "out"
    target.write_text(THEIRS)
    out.mkdir()
    match kind:
        case "link":
            (out / name).symlink_to(target)
        case "dangling link":
            (out / name).symlink_to(tmp_path / "new")
        case "hard link":
            os.link(target, out / name)
        case "pipe":
            os.mkfifo(out / name)
        case _:
            (out / name).mkdir()
    assert name in run()
    assert target.read_text() == THEIRS and not (tmp_path / "new").exists()


def test_files_beside_a_run_stay_where_they_are(
    hub_copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["run", "--model", "constant:yes", "--tasks", "textvqa", "--limit", "1"]
    command += ["--workers", "1", "--data-dir", str(hub_copies), "--out", str(out)]
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert main(command) == 0
    (out / "responses-theirs.jsonl").write_text(THEIRS)
    assert main(command) == 0
    assert (out / "responses-theirs.jsonl").read_text() == THEIRS
    assert main([*command, "--fresh"]) == 0
    assert (out / "notes.txt").read_text() == "mine"
    [aside] = [path for path in tmp_path.glob("out.*")]
    assert not (aside / "notes.txt").exists() and (aside / "run.json").exists()


def test_a_folder_that_is_a_link_is_written_to_where_it_leads(
    hub_copies: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    command = ["run", "--model", "constant:yes", "--tasks", "textvqa", "--limit", "1", "--fresh"]
    command += ["--workers", "1", "--data-dir", str(hub_copies), "--out", str(tmp_path / "out")]
    assert main(command) == 0 and (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "run.json").exists()


@pytest.mark.parametrize("garbage", [b"5\n", b"5", b"[" * 100_000 + b"\n", b"\xff\x00", b"{\n\n"])
def test_garbage_in_a_live_log_costs_no_answer(tmp_path: Path, garbage: bytes) -> None:
    log = Log(tmp_path, "0")
    log.write(LINE)
    with (tmp_path / "responses-0.jsonl").open("ab") as file:
        file.write(garbage)
    log.write(LINE.replace(b'"1"', b'"2"'))
    log.close()
    assert [record.id for record in records(tmp_path)] == ["1", "2"]


def test_only_a_torn_line_of_ours_is_cut(tmp_path: Path) -> None:
    texts = {
        "0": LINE + LINE[:-9],
        "1": LINE + b"\0" * 40,
        "2": LINE + b'{"t',
        "x": THEIRS.encode(),
    }
    for worker, text in texts.items():
        layout.responses_file(tmp_path, worker).write_bytes(text)
    layout.cut_torn_lines(tmp_path)
    left = [layout.responses_file(tmp_path, worker).read_bytes() for worker in texts]
    assert left == [LINE, LINE, LINE, THEIRS.encode()]


@pytest.mark.parametrize("content", [THEIRS, THEIRS + "\n" + THEIRS, "notes"])
def test_a_log_of_a_judge_that_is_none_is_refused_and_untouched(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "judge-scores.jsonl"
    path.write_text(content)
    with pytest.raises(VlmbenchError, match=r"is no log of a judge's replies"):
        JudgeLog(path)
    assert path.read_text() == content


def test_a_log_of_a_judge_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(THEIRS)
    (tmp_path / "judge-scores.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(VlmbenchError, match="is a link"):
        JudgeLog(tmp_path / "judge-scores.jsonl")
    assert (tmp_path / "mine").read_text() == THEIRS


@pytest.mark.parametrize("name", ["log.jsonl", "checkpoints", "stages"])
def test_a_training_touches_nothing_of_others(tmp_path: Path, name: str) -> None:
    from idefics2.train.checkpoints import Folder

    if name.endswith(".jsonl"):
        (tmp_path / name).write_text(THEIRS)
    else:
        (tmp_path / name / "0-1").mkdir(parents=True)
    with pytest.raises(ValueError, match="is not of a training here"):
        Folder(tmp_path).claim({"a": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
