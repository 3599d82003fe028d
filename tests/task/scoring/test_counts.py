"""Which rows of a file count, and of how many: splits and rotations that are not all there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from vlmbench.schema import Sample
from vlmbench.task import rotations

OPTIONS = ("a jug", "a kettle", "a vase", "a bowl")


def mmmu(id: str, response: str) -> dict[str, Any]:
    sample = {"id": id, "question_type": "multiple-choice", "options": str(list(OPTIONS))}
    return {"id": id, "response": response, "sample": sample | {"answer": "B"}}


def rotated(question: int, responses: Sequence[str], texts: Sequence[str] = OPTIONS) -> Any:
    """The first rotations of a question whose answer is the first text."""
    for number, response in enumerate(responses):
        turned = [*texts[-number:], *texts[:-number]] if number else texts
        sample: dict[str, Any] = dict(zip("ABCD", turned, strict=False))
        sample |= {"question": "Which?", "answer": "ABCD"[number], "split": "dev"}
        index = question + 1_000_000 * number
        yield {"id": index, "response": response, "sample": sample | {"index": index}}


def dev_and_validation() -> Iterator[dict[str, Any]]:
    for number in range(1, 4):
        yield mmmu(f"dev_Art_{number}", "B")
        yield mmmu(f"validation_Art_{number}", "A")


def test_only_rows_of_the_named_split_count(score: Any) -> None:
    validation = score("mmmu@validation", dev_and_validation(), "--json")
    assert (validation.json["score"], validation.json["n"]) == (0, 3)
    assert (validation.json["samples"], validation.json["total"]) == (3, 900)
    assert validation.err == "vlmbench: left out: 3 rows of dev, not of mmmu@validation\n"
    dev = score("mmmu@dev", dev_and_validation(), "--json")
    assert (dev.json["score"], dev.json["n"], dev.json["total"]) == (100, 3, 150)


def test_without_a_split_the_tasks_first_counts_or_the_only_one_in_the_file(score: Any) -> None:
    assert score("mmmu", dev_and_validation(), "--json").json["task"] == "mmmu@validation"
    of_test = [mmmu("test_Art_1", "B"), mmmu("test_Art_2", "B")]
    outcome = score("mmmu", of_test, "--json")
    assert (outcome.json["task"], outcome.json["total"]) == ("mmmu@test", 10_500)


def test_a_file_of_other_splits_is_refused(score: Any) -> None:
    outcome = score("mmmu@test", dev_and_validation())
    assert outcome.code == 2
    assert "no sample of mmmu@test; it holds 3 of dev, 3 of validation" in outcome.err


def test_a_column_names_the_split_too(score: Any) -> None:
    lines = list(rotated(1, "ABCD"))
    lines += [line | {"sample": line["sample"] | {"split": "test"}} for line in rotated(2, "ABCD")]
    outcome = score("mmbench@dev-cn", lines, "--json")
    assert (outcome.json["samples"], outcome.json["total"]) == (4, 4_329)
    assert "4 rows of test, not of mmbench@dev-cn" in outcome.err


def test_more_rows_than_the_split_has_are_told(score: Any) -> None:
    lines = [mmmu(f"dev_Art_{number}", "B") for number in range(151)]
    assert "has 151 rows where mmmu@dev has 150" in score("mmmu@dev", lines).err


def test_missing_rotations_are_refused_or_scored_row_by_row(score: Any) -> None:
    lines = [*rotated(1, "ABCD"), *rotated(2, "A")]
    refused = score("mmbench", lines)
    assert refused.code == 2 and not refused.scores
    assert "1 of 2 questions lack rotations" in refused.err and "--vanilla" in refused.err
    vanilla = score("mmbench", [*lines, *rotated(3, "B")], "--vanilla", "--json")
    assert vanilla.json["metric"] == "vanilla_accuracy"
    assert (vanilla.json["score"], vanilla.json["n"]) == (pytest.approx(100 * 5 / 6), 6)


def test_a_missing_rotation_is_seen_in_a_data_set_too(score: Any, tmp_path: Any) -> None:
    rows = [line["sample"] | {"image": "AA=="} for line in rotated(1, "ABCD")]
    (tmp_path / "dev-en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [{"id": line["id"], "response": line["response"]} for line in rotated(1, "ABC")]
    outcome = score("mmbench", lines, "--data-dir", str(tmp_path), "--allow-missing")
    assert outcome.code == 2 and "1 of 1 questions lack rotations" in outcome.err


def group(rows: Sequence[Mapping[str, str]], numbers: Sequence[int]) -> list[Sample]:
    return [
        Sample(id="1", image_group="1", question="", options=rows[number], rotation=number)
        for number in numbers
    ]


@pytest.mark.parametrize(
    ("texts", "num_moving"),
    [("wxyz", 4), ("wxy", 3), ("wx", 2), ("wxyz", 3), ("wxwz", 3), ("wxwz", 4)],
)
def test_a_group_is_whole_only_with_every_rotation(texts: str, num_moving: int) -> None:
    """The last option may keep its place, and two may have one text."""
    moving, still = texts[:num_moving], texts[num_moving:]
    rows = [
        dict(zip("ABCD", moving[-n:] + moving[:-n] + still, strict=False))
        for n in range(num_moving)
    ]
    every = range(num_moving)
    assert rotations.is_whole(group(rows, every), None)
    for absent in every:
        assert not rotations.is_whole(group(rows, [n for n in every if n != absent]), None)
