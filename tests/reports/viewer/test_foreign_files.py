"""A report's folder in which somebody else's files lie: none of them is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.reports.viewer import build
from vlmbench.reports.viewer.report import LISTING, PAGE


def make(run: Path, out: Path) -> Path:
    return build([run], out, has_plots=False).page


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_other_files_in_a_report_stay(two_runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "report"
    make(two_runs[0], out)
    before = contents(out)
    theirs = ("notes.txt", "data/mine.csv", "pictures/me.png", "data/0-0/detail-9.js")
    for name in theirs:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    make(two_runs[0], out)
    after = contents(out)
    assert [after.pop(name) for name in theirs] == [b"mine"] * 4
    assert after.keys() == before.keys()


def test_files_of_an_earlier_report_go(two_runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "report"
    build(two_runs, out, has_plots=False)
    make(two_runs[0], out)
    make(two_runs[0], tmp_path / "new")
    assert contents(out).keys() == contents(tmp_path / "new").keys()
    assert not (out / "data" / "1-0").exists()


def test_a_report_without_a_listing_is_replaced(two_runs: list[Path], tmp_path: Path) -> None:
    """As earlier versions wrote them."""
    out = tmp_path / "report"
    build(two_runs, out, has_plots=False)
    (out / LISTING).unlink()
    for name in ("notes.txt", "custom.css", "plots.html"):
        (out / name).write_text("mine")
    make(two_runs[0], out)
    assert all((out / name).exists() for name in ("notes.txt", "custom.css", "plots.html"))
    assert (out / "notes.txt").read_text() == "mine" and not (out / "data" / "1-0").exists()


@pytest.mark.parametrize("name", [PAGE, "data", LISTING])
def test_a_link_in_a_report_is_not_followed(
    two_runs: list[Path], tmp_path: Path, name: str
) -> None:
    out, away = tmp_path / "report", tmp_path / "away"
    make(two_runs[0], out)
    (out / name).rename(away)
    (out / name).symlink_to(away)
    before = contents(away) or away.read_bytes()
    with pytest.raises(VlmbenchError, match="report"):
        build(two_runs, out, has_plots=False)
    assert (contents(away) or away.read_bytes()) == before and (out / name).is_symlink()


def test_a_link_given_as_the_folder_stays_a_link(two_runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    make(two_runs[0], tmp_path / "link")
    make(two_runs[0], tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / PAGE).is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "link"}


@pytest.mark.parametrize("kind", ["file", "pipe", "files", "link to a file"])
def test_what_is_no_report_is_refused(two_runs: list[Path], tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    match kind:
        case "file":
            out.write_text("mine")
        case "pipe":
            os.mkfifo(out)
        case "files":
            (out / "data").mkdir(parents=True)
            (out / "data" / "report.js").write_text("mine")
            (out / PAGE).write_text("mine")
        case _:
            (tmp_path / "x").write_text("mine")
            out.symlink_to(tmp_path / "x")
    before = contents(tmp_path)
    with pytest.raises(VlmbenchError, match="holds other files"):
        make(two_runs[0], out)
    assert contents(tmp_path) == before
