"""Every format is read back by a reader of that format and says the same."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlmbench.reports.board import columns
from vlmbench.reports.board.baselines import load
from vlmbench.reports.board.exports import as_csv, as_json
from vlmbench.reports.board.leaderboard import Board, Cell, Column, Row, Setting
from vlmbench.reports.board.markup import as_html, as_latex, as_markdown
from vlmbench.reports.board.notes import as_printed
from vlmbench.reports.board.rows import board_of
from vlmbench.reports.board.text import as_text
from vlmbench.tables import shown_width

NASTY = [
    r"50% & $5_000 #1 {a}~b^c\d",
    "<script>alert('&amp;')</script>",
    '"><img src=x onerror=alert(1)>',
    "a|b `code` *bold* [link](x) \\ end",
    "=1+1",
    'two\nlines, "quoted"',
    "Bär 日本",
]


def nasty_board() -> Board:
    column = Column(
        task="textvqa",
        split="validation",
        setting=Setting(is_mini=False, shots=0),
        metric="vqa_accuracy",
        version=1,
        prompt_style="idefics2",
        profile="official",
    )
    cell = Cell(score=12.345, low=1.0, high=99.0, n=5000, num_rows=5000, split_rows=5000)
    rows = [Row(name=name, kind="run", num_parameters=None, cells={column: cell}) for name in NASTY]
    return Board(rows=tuple(rows), notes=tuple(NASTY))


@pytest.fixture(scope="module")
def whole() -> Board:
    """All reported results."""
    return board_of([], load())


def scores(board: Board) -> list[tuple[str, str, float | None]]:
    """System, column and score, in the order in which every format writes them."""
    return [
        (row.name, column.name, row.cells[column].score)
        for table in board.tables
        for row in table.rows
        for column in table.columns
        if column in row.cells
    ]


def test_json_has_every_cell(whole: Board) -> None:
    document = json.loads(as_json(whole))
    found = [
        (row["system"], column["task"], column["split"], cell["score"])
        for table in document["tables"]
        for row in table["rows"]
        for column, cell in zip(table["columns"], row["cells"], strict=True)
        if cell
    ]
    assert [(name, score) for name, _, _, score in found] == [(n, s) for n, _, s in scores(whole)]
    shown = len(found) + sum(
        len(cell["also"])
        for t in document["tables"]
        for r in t["rows"]
        for cell in r["cells"]
        if cell
    )
    assert 350 < len(found) < shown < 483, "the rest are reports that agree"


def test_csv_has_a_line_a_cell(whole: Board) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(whole))))
    assert [(line["system"], float(line["score"])) for line in lines] == [
        (name, score) for name, _, score in scores(whole)
    ]
    assert {line["verified"] for line in lines} == {"true", "false"}
    assert {line["address"][:8] for line in lines} == {"", "https://"}


def test_csv_keeps_text_and_runs_no_formula() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(nasty_board()))))
    assert [line["system"] for line in lines] == ["'=1+1" if n == "=1+1" else n for n in NASTY]
    assert {line["score"] for line in lines} == {"12.345"}


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Cells of all tables, by GitHub's rule: a | counts unless a backslash stands before it."""
    tables: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif tables[-1]:
            tables.append([])
    return [table for table in tables if table]


def test_markdown_tables_are_whole(whole: Board) -> None:
    tables = markdown_tables(as_markdown(whole))
    for table, found in zip(whole.tables, tables, strict=True):
        assert {len(row) for row in found} == {2 + len(table.columns)}
        for row, cells in zip(table.rows, found[2:], strict=True):
            for column, cell in zip(table.columns, cells[2:], strict=True):
                number = re.match(r"[\d.]+", cell)
                expected = row.cells[column].score if column in row.cells else None
                assert (float(number[0]) if number else None) == expected


def test_markdown_shows_text_as_text() -> None:
    (table,) = markdown_tables(as_markdown(nasty_board()))
    names = [re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", row[0]) for row in table[2:]]
    assert [html.unescape(name) for name in names] == [
        f"{' '.join(name.split())} (run)" for name in NASTY
    ]
    text = as_markdown(nasty_board())
    assert "<script" not in text and "<img" not in text


class Reader(html.parser.HTMLParser):
    """Tags, attributes, and the text of table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "br":
            self.handle_data("\n")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_html_shows_text_as_text(whole: Board) -> None:
    reader = Reader()
    reader.feed(as_html(nasty_board()))
    assert [row[0] for row in reader.rows[1:]][:-1] == [f"{name} (run)" for name in NASTY[:-1]]
    reader.feed(as_html(whole))
    assert reader.tags.isdisjoint({"script", "img", "a"})
    assert reader.attributes == {"lang", "charset", "name", "content"}


def test_html_has_every_score(whole: Board) -> None:
    reader = Reader()
    reader.feed(as_html(whole))
    found = [
        float(number[0])
        for row in reader.rows
        for cell in row[2:]
        if (number := re.match(r"\d[\d.]*?\d(?=\D|$)", re.sub(r"^(\d+\.\d).*", r"\1", cell)))
    ]
    assert len(found) >= len(scores(whole))


def test_latex_escapes_what_latex_reads() -> None:
    text = as_latex(nasty_board())
    assert (
        r"50\% \& \$5\_000 \#1 \{a\}\textasciitilde{}b\textasciicircum{}c\textbackslash{}d" in text
    )
    rows = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(rows) == len(NASTY)
    for row in rows:
        assert row.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", row)) == 2
        assert not re.search(r"(?<!\\)[%$#_^~]", row)


def test_latex_tables_are_whole(whole: Board) -> None:
    text = as_latex(whole)
    bodies = re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
    for table, body in zip(whole.tables, bodies, strict=True):
        lines = [line for line in body.splitlines() if line != r"\midrule"]
        assert len(lines) == len(table.rows) + 1
        for line in lines:
            assert len(re.findall(r"(?<!\\)&", line)) == len(table.columns) + 1
            plain = line.replace(r"\\", "")
            assert len(re.findall(r"(?<!\\){", plain)) == len(re.findall(r"(?<!\\)}", plain))
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == len(whole.tables)


@pytest.mark.parametrize("render", [as_markdown, as_latex, as_html])
def test_unverified_results_are_marked_wherever_they_show(
    whole: Board, render: Callable[[Board], str]
) -> None:
    num_shown = sum(
        not report.is_verified
        for row in whole.rows
        for cell in row.cells.values()
        for report in (cell.reported, *cell.also)
        if report
    )
    assert num_shown == 10
    text = render(whole)
    assert len(re.findall(r"\d \(unverified\)|, unverified[,)]", text)) == num_shown
    assert "do not quote it" in text


@pytest.mark.parametrize("width", [40, 80, 160])
def test_text_fits_its_width_and_has_every_score(whole: Board, width: int) -> None:
    text = as_text(whole, width=width)
    assert all(shown_width(line) <= width for line in text.splitlines())
    tables = text.split("\nRemarks\n")[0]
    shown = re.findall(r"(?<![\w.,])\d+\.\d+(?= \[|\s|$)", tables, re.MULTILINE)
    assert len(shown) >= len(scores(whole))
    assert {as_printed(score) for _, _, score in scores(whole) if score} <= set(shown)
    num_unverified = sum(
        cell.reported is not None and not cell.reported.is_verified
        for row in whole.rows
        for cell in row.cells.values()
    )
    assert len(re.findall(r"unverified$|unverified ", tables, re.MULTILINE)) >= num_unverified


def test_text_shows_names_as_text_on_one_line_and_moves_no_cursor() -> None:
    names = [*NASTY, "\033[2J\rgone", "\u65e5\u672c" * 30]
    (column,) = nasty_board().columns
    cell = nasty_board().rows[0].cells[column]
    rows = [Row(name=name, kind="run", num_parameters=None, cells={column: cell}) for name in names]
    text = as_text(Board(rows=tuple(rows)), width=60)
    assert all(shown_width(line) <= 60 for line in text.splitlines())
    assert not any(unicodedata.category(c) == "Cc" for c in text if c != "\n")
    assert text.count("1.0-99.0") == len(names)


def test_text_says_what_failed_and_of_which_rows() -> None:
    (column,) = nasty_board().columns
    part = Cell(score=50.0, low=40.0, high=60.0, n=90, num_rows=100, split_rows=5000)
    part = replace(part, failed=10, missing=2, unparsed=3)
    rows = (
        Row(name="part", kind="run", num_parameters=None, cells={column: part}),
        *nasty_board().rows[:1],
    )
    text = as_text(Board(rows=rows), width=100)
    for words in ("n 90", "n 5,000", "10 failed", "2 not run", "3 unparsed"):
        assert words in text
    assert "a part of the split: 100 of 5,000 rows of textvqa@validation (part)" in text


def test_only_a_terminal_gets_colours(
    made: Callable[..., Path], board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    given = (made("A", "textvqa"), "--baselines", "none")
    plain = board(*given)
    assert "\033" not in plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    coloured = board(*given)
    assert coloured.count("\033[1m") and re.sub(r"\033\[\dm", "", coloured) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert board(*given) == plain


def test_the_mean_stands_only_where_every_row_has_every_task() -> None:
    def column(task: str) -> Column:
        setting = Setting(is_mini=False, shots=0)
        return Column(task=task, split="val", setting=setting, metric="accuracy", version=1)

    one, two = column("textvqa"), column("docvqa")
    cells = {
        one: Cell(score=60.0, low=57.0, high=64.0, n=100),
        two: Cell(score=0.0, low=0.0, high=3.0, n=100),
    }
    row = Row(name="m", kind="run", num_parameters=None, cells=cells)
    (table,) = Board(rows=(row,)).tables
    mean = columns.mean(table, row)
    assert columns.has_means(table)
    assert (mean.score, mean.low, mean.high) == (30.0, 30 - 3 / 2, 30 + 5 / 2)
    lacking = replace(row, name="n", cells={one: cells[one]})
    assert not columns.has_means(Board(rows=(row, lacking)).tables[0])
    points = replace(row, cells={replace(one, metric="cider"): cells[one], two: cells[two]})
    assert not columns.has_means(Board(rows=(points,)).tables[0])


def test_marks_say_source_and_trust(board: Any) -> None:
    text = board("--baselines", "SmolVLM-500M,Idefics2-8B", "--format", "markdown")
    row = next(line for line in text.splitlines() if line.startswith("| SmolVLM-500M"))
    (number,) = {mark for mark in re.findall(r"<sup>(\d+)t", row)}
    assert f"- {number}: A note on a port" in text
    assert "t: a third party's note" in text


def test_out_takes_its_format_from_the_ending(
    board: Any, tmp_path: Path, made: Callable[..., Path]
) -> None:
    starts = {
        "b.txt": "0 shots\n",
        "b.md": "Made by `vlmbench board ",
        "b.json": "{",
        "b.csv": "system,kind",
        "b.tex": "% needs",
        "b.html": "<!doctype html>",
    }
    for name, start in starts.items():
        assert board(made("A", "textvqa"), "--out", tmp_path / name) == ""
        assert (tmp_path / name).read_text().startswith(start)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(starts)


def test_output_is_the_same_each_time(made: Callable[..., Path], board: Any) -> None:
    for form in ("text", "markdown", "json", "csv", "latex", "html"):
        given = (made("A"), made("yes"), "--format", form)
        assert board(*given) == board(*given)


def test_a_task_of_which_nothing_was_scored_has_a_dash_and_its_failures() -> None:
    (column,) = nasty_board().columns
    failed = Cell(score=None, n=0, num_rows=7, split_rows=7, failed=7, missing=0, unparsed=0)
    board = Board(rows=(Row(name="m", kind="run", num_parameters=None, cells={column: failed}),))
    for render in (as_markdown, as_latex, as_html):
        assert re.search(r"-[^\d]*n 0, 7 failed, 0 unparsed", render(board)), render.__name__
    (line,) = csv.DictReader(io.StringIO(as_csv(board)))
    assert (line["score"], line["failed"]) == ("", "7")
    assert board.sorted_by("textvqa").against("m").tables[0].rows[0].cells[column].delta is None
