"""What is in a report's folder: read back without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from vlmbench.cli.main import main
from vlmbench.errors import VlmbenchError
from vlmbench.reports.viewer import Report, build, chunks

STATIC = Path(chunks.__file__).with_name("static")
OTHER_PROMPT = 8


def content(path: Path) -> Any:
    """What a data file hands to the page."""
    script = path.read_text("utf-8")
    call, _, rest = script.partition(", ")
    assert call == f'deliver("{path.relative_to(_data(path)).with_suffix("").as_posix()}"'
    assert rest.endswith(");\n")
    return json.loads(rest[: -len(");\n")])


def _data(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.name == "data")


def scores(run: Path, task: str) -> list[dict[str, Any]]:
    with (run / f"scores-{task}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_a_data_file_holds_nothing_that_ends_a_script_or_a_line(tmp_path: Path) -> None:
    text = "</script><!-- \u2028 \u2029 \ud800 \x00 \\ \" ' \U0001f600"
    chunks.write(tmp_path / "data", "a/b", {text: [text]})
    path = tmp_path / "data" / "a" / "b.js"
    written = path.read_text("utf-8")
    assert not {"<", "\u2028", "\u2029", "\x00"} & set(written)
    assert written.count("\n") == 1
    assert content(path) == {text: [text]}


def test_samples_are_divided_among_files_and_none_is_lost(tmp_path: Path) -> None:
    files = chunks.TaskFiles(tmp_path / "data", "t")
    for number in range(1_001):
        files.add({"id": str(number)}, [str(number), None, []], {"number": number})
    assert files.close()["index"] == 1
    folder = tmp_path / "data" / "t"
    assert content(folder / "index-0.js")["id"] == [str(number) for number in range(1_001)]
    details = [content(folder / f"detail-{n}.js") for n in range(6)]
    assert [d["number"] for part in details for d in part] == list(range(1_001))
    assert content(folder / "text-1.js") == [["1000", None, []]]


@pytest.mark.parametrize("number", range(3))
def test_scores_are_those_of_the_scores_file(
    report: Report, two_runs: list[Path], number: int
) -> None:
    data = report.page.parent / "data"
    task = content(data / "report.js")["runs"][0]["tasks"][number]
    index = content(data / f"0-{number}" / "index-0.js")
    expected = scores(two_runs[0], task["task"])
    assert index["id"] == [record["id"] for record in expected]
    own = [record.get("vanilla", record["value"]) for record in expected]
    assert index["score"] == own
    details = content(data / f"0-{number}" / "detail-0.js")
    for detail, record in zip(details, expected, strict=True):
        values = record.get("vanilla_profiles", record["profiles"])
        assert {verdict[0]: verdict[1] for verdict in detail["verdicts"]} == values
        unparsed = [name for name, _, parsed, _ in detail["verdicts"] if parsed is None]
        assert sorted(unparsed) == sorted(record["unparsed"])


def test_every_prompt_is_the_one_that_the_log_has(report: Report) -> None:
    for path in (report.page.parent / "data").glob("*-*/index-0.js"):
        assert not any(flags & OTHER_PROMPT for flags in content(path)["flags"])


def test_each_picture_is_there_once_as_the_data_set_stores_it(
    report: Report, made_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    rows = made_rows("vqav2", "validation")
    stored = {row["image"]["bytes"] for row in rows}
    files = [path.read_bytes() for path in (report.page.parent / "pictures").iterdir()]
    assert len(set(files)) == len(files) == report.num_pictures
    assert stored <= set(files)


def test_samples_that_the_data_at_hand_ask_otherwise_are_marked(
    two_runs: list[Path],
    made_rows: Callable[..., list[dict[str, Any]]],
    hub_copy: Callable[..., Path],
    tmp_path: Path,
) -> None:
    rows = made_rows("vqav2", "validation")
    rows[0]["question"] += " Really?"
    rows[2]["image"] = rows[-1]["image"]
    changed = {str(rows[place]["question_id"]) for place in (0, 2)}
    folder = hub_copy("vqav2", "validation", rows).parent
    made = build([two_runs[0]], tmp_path / "r", data_dir=folder, has_plots=False)
    index = content(made.page.parent / "data" / "0-0" / "index-0.js")
    marked = {id for id, f in zip(index["id"], index["flags"], strict=True) if f & OTHER_PROMPT}
    assert marked == changed
    assert any("2 samples of the data at hand" in note for note in made.notes)


@pytest.mark.parametrize(
    ("asking", "num_pictures", "num_in_prompt"),
    [({"blind": True}, 1, 0), ({"shots": 2}, 3, 3)],
    ids=["blind: the sample's picture, not in the prompt", "two examples: their pictures too"],
)
def test_pictures_and_messages_are_those_of_the_prompt(
    make_run: Callable[..., Path],
    hub_copies: Path,
    tmp_path: Path,
    asking: dict[str, Any],
    num_pictures: int,
    num_in_prompt: int,
) -> None:
    run = make_run(tmp_path / "run", ["yes"], "vqav2", **asking)
    made = build([run], tmp_path / "report", data_dir=hub_copies, has_plots=False)
    assert not made.notes
    detail = content(made.page.parent / "data" / "0-0" / "detail-0.js")[0]
    pieces = [piece for _, content in detail["asked"]["messages"] for piece in content]
    assert [p for p in pieces if not isinstance(p, str)] == list(range(num_in_prompt))
    assert len(detail["pictures"]) == num_pictures
    assert all((made.page.parent / p["file"]).is_file() for p in detail["pictures"])


def test_plots_are_embedded_and_those_left_out_have_a_reason(
    make_run: Callable[..., Path], hub_copies: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", ["yes", "no"], "vqav2")
    made = build([run], tmp_path / "report", data_dir=hub_copies)
    page = content(made.page.parent / "data" / "report.js")
    assert len(page["plots"]) + len(page["left_out"]) > 0
    for file, title in page["plots"]:
        assert title
        assert (made.page.parent / file).read_text("utf-8").lstrip().startswith("<?xml")


def test_an_earlier_report_is_replaced_and_nothing_else_ever(
    two_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for run in two_runs:
        assert main(["view", str(run), "--out", str(out), "--no-plots"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}/index.html  49 samples, 0 pictures")
    assert content(out / "data" / "report.js")["runs"][0]["name"] == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    for place in (tmp_path / "mine", tmp_path / "mine" / "thesis.tex", two_runs[0]):
        assert main(["view", str(two_runs[0]), "--out", str(place), "--no-plots"]) == 2
        assert "other files" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_a_folder_without_a_run_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(tmp_path), "--out", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err == f"vlmbench: {tmp_path} holds no run (no run.json)\n"


def test_runs_of_one_folder_name_have_addresses_of_their_own(
    make_run: Callable[..., Path], hub_copies: Path, tmp_path: Path
) -> None:
    runs = [make_run(tmp_path / n / "run", ["yes"], "mathvista@testmini") for n in "ab"]
    made = build(runs, tmp_path / "report", has_plots=False)
    names = [run["name"] for run in content(made.page.parent / "data" / "report.js")["runs"]]
    assert names == ["run", "run-2"]


def test_the_page_asks_nobody_and_makes_no_markup_of_text() -> None:
    names = {path.name for path in STATIC.iterdir()}
    page = (STATIC / "index.html").read_text()
    assert set(re.findall(r'(?:src|href)="([\w.]+)"', page)) | {"index.html"} == names
    for path in STATIC.iterdir():
        text = path.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|//cdn|@import|url\(", text), path.name
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\("
        assert not re.search(forbidden, text), path.name


def test_a_full_disk_is_said_once(
    two_runs: list[Path],
    tmp_path: Path,
    full_disk: Callable[[], AbstractContextManager[None]],
) -> None:
    with full_disk(), pytest.raises(VlmbenchError) as raised:
        build(two_runs, tmp_path / "r", has_plots=False)
    assert str(raised.value) == f"cannot write the report to {tmp_path / 'r'}: File too large"
