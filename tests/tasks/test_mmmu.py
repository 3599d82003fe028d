"""MMMU's rows: options and golds that are Python source, pictures by number, subjects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.schema import Sample

MakeRows = Callable[[str, str], list[dict[str, Any]]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("['a', 'b']", ["a", "b"]),
        ("[\"it's\", '\\\\alpha']", ["it's", "\\alpha"]),
        (["a", "b"], ["a", "b"]),
        ("['1', '', '<image 2>']", ["1", "", "<image 2>"]),
        (repr([str(n) for n in range(9)]), [str(n) for n in range(9)]),
    ],
)
def test_mmmu_options_are_a_list_as_python_writes_it(
    options: Any, expected: list[str], read: Callable[..., Sample]
) -> None:
    sample = read("mmmu", options=options)
    assert sample.options == dict(zip("ABCDEFGHI", expected, strict=False))


@pytest.mark.parametrize(
    "options",
    [
        "['a', 'b'",
        "__import__('os').system('true')",
        "[open('x')]",
        "('a', 'b')",
        "[1, 2]",
        "a",
        "[" * 10_000,
        "['\x00']",
    ],
)
def test_mmmu_options_that_are_no_such_list_are_an_error(
    options: str, read: Callable[..., Sample]
) -> None:
    with pytest.raises(VlmbenchError, match=r"row 0: column 'options' is .*, expected a list"):
        read("mmmu", options=options)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", ("B",)),
        ("['$MgS$', 'MgS']", ("$MgS$", "MgS")),
        ("['Tampa', 'Florida']", ("Tampa", "Florida")),
        ("['24/7', '3.429']", ("24/7", "3.429")),
        (["24/7", "3.429"], ("24/7", "3.429")),
        ("[0, 5)", ("[0, 5)",)),
        ("[1, 2]", ("[1, 2]",)),
        ("[]", ("[]",)),
        (7, ("7",)),
    ],
)
def test_mmmu_golds_are_a_text_or_a_list_of_texts(
    answer: Any, expected: tuple[str, ...], read: Callable[..., Sample]
) -> None:
    assert read("mmmu", answer=answer, question_type="open", options="[]").answers == expected


def test_mmmu_pictures_keep_their_numbers(
    samples: Callable[[str], list[Sample]], made_rows: MakeRows
) -> None:
    found = {sample.id: sample for sample in samples("mmmu")}
    rows = {row["id"]: row for row in made_rows("mmmu", "validation")}
    assert list(found["validation_Clinical_Medicine_901"].images) == [1, 3]
    assert list(found["validation_Music_901"].images) == [1, 2, 3, 4]
    for id, sample in found.items():
        for number, picture in sample.images.items():
            assert picture.encoded() == rows[id][f"image_{number}"]["bytes"]
    swapped = found["validation_Art_902"]
    assert swapped.question.startswith("First look at <image 2>, then at <image 1>.")


@pytest.mark.parametrize("kind", ["open", "short-answer"])
def test_mmmu_questions_that_are_not_multiple_choice_are_open(
    kind: str, read: Callable[..., Sample]
) -> None:
    sample = read("mmmu", question_type=kind, options="[]", answer="12")
    assert sample.breakdown["question_type"] == ("open",) and not sample.options


def test_every_mmmu_subject_has_its_domain(samples: Callable[[str], list[Sample]]) -> None:
    for sample in (*samples("mmmu"), *samples("mmmu@dev"), *samples("mmmu@test")):
        assert len(sample.breakdown["domain"]) == len(sample.breakdown["subject"]) == 1
    assert samples("mmmu@test")[0].breakdown["domain"] == ("Business",)
    subjects = {s.breakdown["subject"][0] for s in samples("mmmu")}
    assert {"Clinical_Medicine", "Art"} < subjects


def test_a_subject_of_no_domain_has_none(read: Callable[..., Sample]) -> None:
    sample = read("mmmu", id="mini_Reading_1", question_type="open")
    assert "domain" not in sample.breakdown
    assert sample.breakdown["subject"] == ("Reading",)
