"""`vlmbench compare` on runs whose every answer is known."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.cli.main import main
from vlmbench.reports.compare import comparison
from vlmbench.runs.folder.finished import open_run

VQA = "vqav2@validation"
MMB = "mmbench@dev-en"

Answered = Callable[..., Path]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def vqa(made_rows: Rows) -> dict[str, str]:
    """The right answers of VQAv2's rows by id."""
    rows = made_rows("vqav2", "validation")
    return {str(row["question_id"]): row["multiple_choice_answer"] for row in rows}


@pytest.fixture
def pair(answered: Answered, vqa: dict[str, str]) -> tuple[Path, Path, list[str], list[str]]:
    """A wrong on three samples, B on one other: folders, ids that B lost, ids that B won."""
    won, lost = list(vqa)[1:4], list(vqa)[6:7]
    a = answered("a", {VQA: vqa | dict.fromkeys(won, "zebra")})
    b = answered("b", {VQA: vqa | dict.fromkeys(lost, "\x1b[31m=1+1\nzebra")})
    return a, b, lost, won


def compared(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main(["compare", *map(str, arguments), "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_flips_are_counted_each_way(
    capsys: pytest.CaptureFixture[str], pair: tuple[Path, Path, list[str], list[str]]
) -> None:
    a, b, *_ = pair
    [task] = compared(capsys, a, b)["tasks"]
    assert (task["num_up"], task["num_down"], task["n"]) == (3, 1, 12)
    assert task["difference"] == pytest.approx(task["b"] - task["a"])
    assert task["interval"][0] < task["difference"] < task["interval"][1]
    assert 0 < task["detectable"] < 100


def test_the_other_way_round_is_the_opposite(
    capsys: pytest.CaptureFixture[str], pair: tuple[Path, Path, list[str], list[str]]
) -> None:
    a, b, *_ = pair
    [there], [back] = compared(capsys, a, b)["tasks"], compared(capsys, b, a)["tasks"]
    assert back["difference"] == pytest.approx(-there["difference"])
    assert back["interval"] == pytest.approx([-there["interval"][1], -there["interval"][0]])
    assert back["p"] == pytest.approx(there["p"])
    assert (back["num_up"], back["num_down"]) == (there["num_down"], there["num_up"])


def test_flips_are_listed_with_both_answers_and_what_is_right(
    capsys: pytest.CaptureFixture[str],
    pair: tuple[Path, Path, list[str], list[str]],
    hub_copies: Path,
    vqa: dict[str, str],
) -> None:
    a, b, lost, won = pair
    flags = ("--list", "flips", "--gold", "--data-dir", hub_copies)
    samples = compared(capsys, a, b, *flags)["samples"]
    assert [one["id"] for one in samples] == [*lost, *won]
    assert [one["response_a"] for one in samples] == [vqa[lost[0]], "zebra", "zebra", "zebra"]
    assert [one["response_b"] for one in samples[1:]] == [vqa[id] for id in won]
    assert all(vqa[one["id"]] in one["answers"] and one["question"] for one in samples)


def test_lists_of_right_and_wrong_are_of_both_runs(
    capsys: pytest.CaptureFixture[str], answered: Answered, vqa: dict[str, str]
) -> None:
    first, second, *rest = vqa
    a = answered("a", {VQA: vqa | {first: "zebra", second: "zebra"}})
    b = answered("b", {VQA: vqa | {first: "zebra"}})
    wrong = compared(capsys, a, b, "--list", "wrong")["samples"]
    right = compared(capsys, a, b, "--list", "right")["samples"]
    assert [one["id"] for one in wrong] == [first]
    assert {one["id"] for one in right} <= set(rest)
    assert all(one["a"] == one["b"] == 1 for one in right) and right


def test_a_listing_in_text_moves_no_cursor_and_in_csv_starts_no_formula(
    capsys: pytest.CaptureFixture[str], answered: Answered, vqa: dict[str, str]
) -> None:
    first = next(iter(vqa))
    a = answered("a", {VQA: vqa})
    b = answered("b", {VQA: vqa | {first: "=1+1\x1b[2J\nzebra"}})
    assert main(["compare", str(a), str(b), "--list", "flips"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text and "=1+1 [2J zebra" in text
    assert main(["compare", str(a), str(b), "--list", "flips", "--format", "csv"]) == 0
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["response_b"].startswith("'=1+1") and row["id"] == first


def test_rotations_count_as_one_question(
    capsys: pytest.CaptureFixture[str], answered: Answered, made_rows: Rows
) -> None:
    right = {str(row["index"]): row["answer"] for row in made_rows("mmbench", "dev-en")}
    group = [id for id in right if int(id) % 1_000_000 == 501]
    assert len(group) > 1
    others = dict.fromkeys(group, "Z")
    a, b = answered("a", {MMB: right}), answered("b", {MMB: right | others})
    [task] = compared(capsys, a, b)["tasks"]
    questions = {int(id) % 1_000_000 for id in right}
    assert (task["n"], task["num_clusters"]) == (len(questions), len(questions))
    assert (task["num_up"], task["num_down"]) == (0, 1)


def test_samples_of_one_run_alone_are_counted_and_left_out(
    capsys: pytest.CaptureFixture[str], answered: Answered, vqa: dict[str, str]
) -> None:
    failed = list(vqa)[:2]
    a = answered("a", {VQA: vqa})
    b = answered("b", {VQA: {id: text for id, text in vqa.items() if id not in failed}})
    [task] = compared(capsys, a, b)["tasks"]
    assert (task["n"], task["num_only_a"], task["num_only_b"]) == (10, 2, 0)
    assert main(["compare", str(a), str(b)]) == 0
    assert "2 samples are scored in A alone, 0 in B alone" in capsys.readouterr().out


def test_several_tasks_have_a_mean_and_adjusted_p_values(
    capsys: pytest.CaptureFixture[str], answered: Answered, vqa: dict[str, str], made_rows: Rows
) -> None:
    mmb = {str(row["index"]): row["answer"] for row in made_rows("mmbench", "dev-en")}
    a = answered("a", {VQA: vqa, MMB: mmb})
    b = answered("b", {VQA: dict.fromkeys(vqa, "zebra"), MMB: mmb})
    found = compared(capsys, a, b)
    first, second = found["tasks"]
    assert first["p"] < 0.05 < second["p"] == 1
    assert first["p_holm"] == pytest.approx(2 * first["p"])
    assert found["mean"]["difference"] == pytest.approx(first["difference"] / 2)
    assert main(["compare", str(a), str(b)]) == 0
    text = capsys.readouterr().out
    assert "mean of 2" in text and "p (Holm)" in text and "mmbench@dev-en: no difference" in text
    assert len(compared(capsys, a, b, "--task", "vqav2")["tasks"]) == 1


def test_what_else_differs_is_warned_of(
    capsys: pytest.CaptureFixture[str], answered: Answered, vqa: dict[str, str]
) -> None:
    a = answered("a", {VQA: vqa})
    b = answered("b", {VQA: vqa}, style="lmms", shots=2)
    manifest = json.loads((b / "run.json").read_text())
    manifest["data"][VQA] |= {"version": 7, "fingerprint": "other"}
    (b / "run.json").write_text(json.dumps(manifest))
    assert main(["compare", str(a), str(b)]) == 0
    warned = capsys.readouterr().err
    assert "prompt style is idefics2 in A, lmms in B" in warned
    assert "shots is 0 in A, 2 in B" in warned
    assert "and 7 in B" in warned
    assert "has other rows in A than in B" in warned
    assert warned.count("\n") == 4


def test_like_runs_are_warned_of_nothing(
    capsys: pytest.CaptureFixture[str], pair: tuple[Path, Path, list[str], list[str]]
) -> None:
    assert main(["compare", str(pair[0]), str(pair[1])]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "cost of " in captured.out and "truncated answers" in captured.out
    assert "MDE: minimum detectable effect at 80 % power (paired / unpaired)" in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["a", "a"], "are one run", id="the same folder"),
        pytest.param(["a", "none"], "holds no run", id="no run"),
        pytest.param(["a", "other"], "A has vqav2@validation; B has mmbench@dev-en", id="tasks"),
        pytest.param(["a", "apart"], "run both on the same samples", id="samples"),
        pytest.param(["a", "b", "--task", "vqa"], "did you mean vqav2", id="unknown task"),
        pytest.param(
            ["a", "both", "--task", "mmbench"], "A has none; B has mmbench@dev-en", id="task of one"
        ),
        pytest.param(["a", "b", "--profile", "vlmevalki"], "invalid choice", id="profile"),
        pytest.param(["a", "b", "--gold"], "add --list", id="gold of nothing"),
        pytest.param(["a"], "required: B", id="one run"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str],
    answered: Answered,
    vqa: dict[str, str],
    made_rows: Rows,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    mmb = {str(row["index"]): row["answer"] for row in made_rows("mmbench", "dev-en")}
    made = {
        "a": lambda: answered("a", {VQA: vqa}, ids=list(vqa)[:6]),
        "b": lambda: answered("b", {VQA: vqa}),
        "apart": lambda: answered("apart", {VQA: vqa}, ids=list(vqa)[6:]),
        "other": lambda: answered("other", {MMB: mmb}),
        "both": lambda: answered("both", {VQA: vqa, MMB: mmb}),
    }
    for name in dict.fromkeys(arguments[:2]):
        if name in made:
            made[name]()
    given = [str(tmp_path / a) if a in (*made, "none") else a for a in arguments]
    assert main(["compare", *given]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vlmbench: ") and captured.err.count("\n") == 1
    assert message in captured.err


def test_a_run_against_a_copy_of_itself_has_no_flips(
    answered: Answered, vqa: dict[str, str]
) -> None:
    a, b = open_run(answered("a", {VQA: vqa})), open_run(answered("b", {VQA: vqa}))
    [task] = comparison.compare(a, b).tasks
    assert (task.difference.value, task.difference.p, task.ids("flips")) == (0, 1, [])
    assert task.difference.low < 0 < task.difference.high


@pytest.mark.parametrize(
    ("encoding", "form", "answer", "shown"),
    [
        pytest.param("ascii", "text", "\U0001f600", rb"\U0001f600", id="emoji in ASCII"),
        pytest.param("utf-8", "csv", "\ud800", rb"\ud800", id="a surrogate in UTF-8"),
    ],
)
def test_what_the_output_cannot_encode_is_escaped(
    answered: Answered,
    vqa: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    form: str,
    answer: str,
    shown: bytes,
) -> None:
    a, b = (answered(name, {VQA: dict.fromkeys(vqa, answer)}) for name in "ab")
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding))
    assert main(["compare", str(a), str(b), "--list", "wrong", "--format", form]) == 0
    assert shown in printed.getvalue()
