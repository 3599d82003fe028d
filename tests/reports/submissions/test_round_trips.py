"""A submission, read by independent readers, is what the server takes and scores as the run did."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from vlmbench.reports.submissions import servers

Command = Callable[..., Any]
Answered = Callable[..., Path]
PUBLIC = [
    ("vqav2-evalai", "vqav2@validation"),
    ("textvqa-evalai", "textvqa@validation"),
    ("docvqa-rrc", "docvqa@validation"),
    ("mathvista", "mathvista@testmini"),
    ("mmbench", "mmbench@dev-en"),
    ("mmbench", "mmbench@dev-cn"),
]


def scored(command: Command, name: str, path: Path, data_dir: Path) -> dict[str, Any]:
    done = command(
        *("score", "--task", name, "--predictions", path, "--data-dir", data_dir, "--json")
    )
    assert done.code == 0, done.err
    document: dict[str, Any] = json.loads(done.out)
    return document


def own_score(folder: Path, name: str) -> float:
    """The mean that the run's own scores file gives."""
    lines = (folder / f"scores-{name}.jsonl").read_bytes().splitlines()
    values = [record["value"] for record in map(json.loads, lines) if record["value"] is not None]
    return 100 * math.fsum(values) / len(values)


def test_every_server_has_a_round_trip_here() -> None:
    assert {server for server, _ in PUBLIC} | {"mmmu-evalai"} == servers().keys()


@pytest.mark.parametrize(("server", "name"), PUBLIC)
def test_a_submission_scores_as_its_run(
    server: str, name: str, answered: Answered, command: Command, hub_copies: Path
) -> None:
    folder = answered(name, hub_copies)
    done = command("submit", folder, "--to", server, "--data-dir", hub_copies, "--rehearsal")
    assert done.code == 0, done.err
    document = scored(command, name, done.path, hub_copies)
    assert 0 < document["score"] < 100
    assert document["score"] == pytest.approx(own_score(folder, name), abs=1e-9)


def test_an_mmmu_submission_scores_as_its_run_but_for_drawn_letters(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    name = "mmmu@validation"
    folder = answered(name, hub_copies)
    done = command("submit", folder, "--to", "mmmu-evalai", "--data-dir", hub_copies, "--rehearsal")
    entries = json.loads(done.path.read_text("utf-8"))
    lines = (folder / f"scores-{name}.jsonl").read_bytes().splitlines()
    records = {record["id"]: record for record in map(json.loads, lines)}
    out = done.path.with_name("scores.jsonl")
    flags = ("--predictions", done.path, "--data-dir", hub_copies, "--out", out)
    assert command("score", "--task", name, *flags).code == 0
    again = {record["id"]: record for record in map(json.loads, out.read_bytes().splitlines())}
    drawn = {id for id, record in records.items() if record["how"] == "guess"}
    assert drawn
    assert f"{len(drawn)} of {len(records)} responses name no option" in done.err
    for id, record in records.items():
        if id not in drawn:
            assert again[id]["value"] == record["value"]
        if id in drawn:
            assert entries[id] in "ABCDEFGHI"
        elif record["breakdown"]["question_type"] == ["multiple-choice"]:
            assert entries[id] == record["parsed"]


def test_answers_that_look_like_formulas_numbers_or_nothing_stay_text(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    awkward = ["None", "=1+1", "1e5", "007", "#N/A", "TRUE", "", " a ", "a\x07b\r\nc", "x\ud800"]
    awkward += ["_x0041_", "nan", "2024-01-02"]
    copy = hub_copies
    clean = answered("mmbench@dev-en", copy)
    ids = [
        record["id"]
        for record in map(json.loads, (clean / "responses-0.jsonl").read_bytes().splitlines())
    ]
    said = dict(zip(ids, awkward, strict=False))
    folder = answered("mmbench@dev-en", copy, said, resume=False)
    done = command("submit", folder, "--to", "mmbench", "--data-dir", copy, "--rehearsal")
    assert done.code == 0, done.err
    book = openpyxl.load_workbook(done.path)
    header, *rows = book.worksheets[0].iter_rows()
    assert [cell.value for cell in header] == [
        *("index", "question", "A", "B", "C", "D", "prediction", "answer", "split")
    ]
    found = {str(row[0].value): row[6] for row in rows}
    assert all(isinstance(row[0].value, int) for row in rows)
    for id, text in said.items():
        cell = found[id]
        assert cell.data_type in ("s", "inlineStr") or not text
        stored = {
            "": None,
            "a\x07b\r\nc": "a_x0007_b_x000D_\nc",
            "x\ud800": "x\ufffd",
            "_x0041_": "_x005F_x0041_",
        }
        assert cell.value == stored.get(text, text)
    document = scored(command, "mmbench@dev-en", done.path, copy)
    assert document["score"] == pytest.approx(own_score(folder, "mmbench@dev-en"), abs=1e-9)


def test_options_of_mmbench_are_text_and_absent_ones_are_empty(
    answered: Answered,
    command: Command,
    hub_copy: Callable[..., Path],
    made_rows: Callable[..., list[dict[str, Any]]],
) -> None:
    rows = made_rows("mmbench", "dev-en")
    rows[0] |= {"A": "None", "B": "=1+1", "C": "1e5", "D": "nan"}
    copy = hub_copy("mmbench", "dev-en", rows)
    folder = answered("mmbench@dev-en", copy, {str(rows[0]["index"]): "B"})
    done = command("submit", folder, "--to", "mmbench", "--data-dir", copy, "--rehearsal")
    sheet = openpyxl.load_workbook(done.path).worksheets[0]
    row = next(row for row in sheet.iter_rows() if row[0].value == rows[0]["index"])
    assert [cell.value for cell in row[2:7]] == ["None", "=1+1", "1e5", None, "B"]


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(
    ("server", "name", "key"),
    [
        ("textvqa-evalai", "textvqa@test", "question_id"),
        ("docvqa-rrc", "docvqa@test", "questionId"),
        ("vqav2-evalai", "vqav2@test-std", "question_id"),
    ],
)
def test_a_list_has_every_id_of_the_split_once_as_a_number(
    server: str,
    name: str,
    key: str,
    answered: Answered,
    command: Command,
    hub_copies: Path,
    made_rows: Callable[..., list[dict[str, Any]]],
) -> None:
    folder = answered(name, hub_copies)
    done = command("submit", folder, "--to", server, "--data-dir", hub_copies)
    assert done.code == 0, done.err
    entries = json.loads(done.path.read_text("utf-8"))
    assert all(set(entry) == {key, "answer"} for entry in entries)
    assert all(type(entry[key]) is int and type(entry["answer"]) is str for entry in entries)
    task, _, split = name.partition("@")
    assert [entry[key] for entry in entries] == [int(row[key]) for row in made_rows(task, split)]


@pytest.mark.usefixtures("any_size")
def test_a_file_for_test_dev_holds_all_of_test_with_the_rest_empty(
    answered: Answered,
    command: Command,
    hub_copies: Path,
    tmp_path: Path,
    hub_copy: Callable[..., Path],
    made_rows: Callable[..., list[dict[str, Any]]],
) -> None:
    rows = made_rows("vqav2", "test-std")
    copy = hub_copy("vqav2", "test-std", rows)
    part = hub_copy("vqav2", "test-dev", rows[:5])
    for path in (part / "data").iterdir():
        path.rename(copy / "data" / path.name)
    folder = answered("vqav2@test-dev", copy)
    done = command("submit", folder, "--to", "vqav2-evalai", "--data-dir", copy)
    assert done.code == 0, done.err
    entries = json.loads(done.path.read_text("utf-8"))
    assert {entry["question_id"] for entry in entries} == {row["question_id"] for row in rows}
    answers = {entry["question_id"]: entry["answer"] for entry in entries}
    assert all(answers[row["question_id"]] for row in rows[:5])
    assert {answers[row["question_id"]] for row in rows[5:]} == {""}


@pytest.mark.usefixtures("any_size")
def test_mmmu_test_answers_are_letters_and_texts(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    folder = answered("mmmu@test", hub_copies)
    done = command("submit", folder, "--to", "mmmu-evalai", "--data-dir", hub_copies)
    assert done.code == 0, done.err
    entries = json.loads(done.path.read_text("utf-8"))
    assert entries["test_Accounting_901"] == "B"  # the response: "... (B) $180."
    assert entries["test_Chemistry_901"] == "The formula is MgS."
    drawn = "ABCD"[zlib.crc32(b"test_Physics_902") % 4]
    assert entries["test_Physics_902"] == drawn  # the response names no option


MATHVISTA_KEYS = [
    *("question", "image", "choices", "unit", "precision", "answer", "question_type"),
    *("answer_type", "pid", "metadata", "response", "extraction", "prediction"),
]


@pytest.mark.usefixtures("any_size")
def test_mathvista_output_and_scores_are_as_the_templates(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    name = "mathvista@testmini"
    folder = answered(name, hub_copies)
    done = command("submit", folder, "--to", "mathvista", "--data-dir", hub_copies)
    output, scores = (Path(line) for line in done.out.splitlines())
    entries = json.loads(output.read_text("utf-8"))
    lines = (folder / f"scores-{name}.jsonl").read_bytes().splitlines()
    for record in map(json.loads, lines):
        entry = entries[record["id"]]
        assert list(entry) == [*MATHVISTA_KEYS, "true_false"]
        assert entry["true_false"] is bool(record["value"])
        assert type(entry["precision"]) in (int, type(None))
        if record["parsed"] is not None:
            assert entry["prediction"] == record["parsed"]
    counted = json.loads(scores.read_text("utf-8"))
    assert scores.name == f"scores_{output.name}"
    right = sum(entry["true_false"] for entry in entries.values())
    average = {"accuracy": str(round(100 * right / 12, 2)), "correct": right, "total": 12}
    assert counted.pop("average") == average
    for name in ("question_type", "answer_type", "language", "source", "grade", "task"):
        assert sum(group["total"] for group in counted[name].values()) == 12
        accuracies = [float(group["accuracy"]) for group in counted[name].values()]
        assert accuracies == sorted(accuracies, reverse=True)
    assert list(counted) == [
        *("question_type", "answer_type", "language", "source", "category"),
        *("task", "context", "grade", "skills"),
    ]


@pytest.mark.usefixtures("any_size")
def test_mathvista_test_has_no_verdicts(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    folder = answered("mathvista@test", hub_copies)
    done = command("submit", folder, "--to", "mathvista", "--data-dir", hub_copies)
    assert len(done.out.splitlines()) == 1
    entries = json.loads(done.path.read_text("utf-8"))
    assert all(list(entry) == MATHVISTA_KEYS for entry in entries.values())
    assert {entry["answer"] for entry in entries.values()} == {""}
    assert all(entry["response"] for entry in entries.values())


def test_a_response_longer_than_a_cell_is_cut_and_said(
    answered: Answered, command: Command, hub_copies: Path
) -> None:
    folder = answered("mmbench@dev-en", hub_copies, {"501": "so " * 20_000})
    done = command("submit", folder, "--to", "mmbench", "--data-dir", hub_copies, "--rehearsal")
    assert "1 responses are cut to a cell's 32,767 characters" in done.err
    sheet = openpyxl.load_workbook(done.path).worksheets[0]
    row = next(row for row in sheet.iter_rows(values_only=True) if row[0] == 501)
    assert isinstance(row[6], str) and len(row[6]) == 32_767
