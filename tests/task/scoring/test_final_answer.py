"""`vlmbench score --final-answer`: every kind of wrapping, under every way to read it."""

from __future__ import annotations

from typing import Any

import pytest

from vlmbench.data.rows import Row
from vlmbench.schema import Prediction
from vlmbench.task.loading import find
from vlmbench.task.reading import Reading
from vlmbench.task.scoring import Tally
from vlmbench.task.scoring import score as scores_of

THOUGHT = "<think>\nA jug? It could be (A), or the vase (C).\n</think>\n"


def textvqa(id: int, response: str) -> dict[str, Any]:
    answers = ["northwind"] * 10
    return {"id": id, "response": response, "sample": {"question_id": id, "answers": answers}}


def docvqa(id: int, response: str) -> dict[str, Any]:
    sample = {"questionId": str(id), "question": "When?", "answers": ["March 4, 1971"]}
    return {"id": str(id), "response": response, "sample": sample}


def mmmu(id: int, response: str) -> dict[str, Any]:
    name = f"validation_Art_{id}"
    sample = {
        "id": name,
        "question": "What is it?",
        "options": "['a clay jug', 'a tin kettle', 'a glass vase', 'a wooden bowl']",
        "answer": "B",
        "question_type": "multiple-choice",
    }
    return {"id": name, "response": response, "sample": sample}


def mmbench(id: int, response: str) -> dict[str, Any]:
    sample = {
        "index": id,
        "question": "What is it?",
        "answer": "B",
        "split": "dev",
        **{"A": "a clay jug", "B": "a tin kettle", "C": "a glass vase", "D": "a wooden bowl"},
    }
    return {"id": id, "response": response, "sample": sample}


def mathvista(id: int, response: str) -> dict[str, Any]:
    sample = {
        **{"pid": str(id), "question": "How many?", "choices": None, "unit": None},
        **{"precision": None, "answer": "7", "question_type": "free_form"},
        **{"answer_type": "integer", "metadata": {"language": "english"}},
    }
    return {"id": str(id), "response": response, "sample": sample}


MAKE = {f.__name__: f for f in (textvqa, docvqa, mmmu, mmbench, mathvista)}


def values(task: str, response: str, reading: Reading) -> dict[str, float]:
    line = MAKE[task](1, response)
    found = find(task)
    sample = found.read(Row(line["sample"], where="", key="1"))
    verdicts = reading.verdicts(found, sample, Prediction(id="1", response=response))
    return {profile: verdict.value for profile, verdict in verdicts.items()}


@pytest.mark.parametrize(
    ("task", "response", "official"),
    [
        ("textvqa", "<think>It says so.</think>\n<answer>\nNorthwind.\n</answer>", (0, 1, 1)),
        ("textvqa", "<SUMMARY> x </SUMMARY>\n<CONCLUSION> Northwind. </CONCLUSION>", (0, 1, 1)),
        ("textvqa", "Northwind<|im_end|>\n<|endoftext|>", (0, 1, 1)),
        ("textvqa", "**Northwind**", (0, 0, 1)),
        ("textvqa", '{"answer": "Northwind"}', (0, 0, 1)),
        ("textvqa", "\\boxed{Northwind}", (0, 0, 1)),
        ("textvqa", "Answer: Northwind", (0, 0, 1)),
        ("textvqa", "Northwind.", (1, 1, 1)),
        ("docvqa", "<think>x</think>\n\nMarch 4, 1971", (0, 1, 1)),
        ("docvqa", "The answer is March 4, 1971.", (0, 0, 1)),
        ("docvqa", "", (0, 0, 0)),
        ("mmmu", f"{THOUGHT}B", (0, 1, 1)),
        ("mmmu", f"{THOUGHT}<answer>B</answer>", (0, 1, 1)),
        ("mmmu", "Maybe (A), or (C).\n</think>\n\nB", (0, 1, 1)),
        ("mmmu", "\N{WHITE LEFT-POINTING TRIANGLE}think\N{WHITE RIGHT-POINTING TRIANGLE}(A)?"
         "\N{WHITE LEFT-POINTING TRIANGLE}/think\N{WHITE RIGHT-POINTING TRIANGLE}B", (0, 1, 1)),
        ("mmmu", "<think>It could be (B). I compare", (1, 0, 0)),
        ("mmmu", "\n\nB", (0.25, 1, 1)),
        ("mmmu", "\\boxed{B}", (0.25, 0.25, 1)),
        ("mmmu", "```json\n{\"answer\": \"B\"}\n```", (0.25, 0.25, 1)),
        ("mmmu", "The correct answer is b.", (0.25, 0.25, 1)),
        ("mmmu", "**B**", (0.25, 0.25, 1)),
        ("mmmu", "", (0.25, 0.25, 0.25)),
        ("mmbench", "\u7b54\u6848\uff1aB\u3002", (0, 0, 1)),
        ("mmbench", "\uff08B\uff09", (0, 0, 1)),
        ("mmbench", "\uff22", (0, 0, 1)),
        ("mmbench", "b", (0, 0, 1)),
        ("mmbench", "$B$", (0, 0, 1)),
        ("mmbench", "Options A and D are wrong.\n\nFinal Answer: B", (0, 0, 1)),
        ("mmbench", "B<|im_end|>", (0, 1, 1)),
        ("mathvista", "The answer is 9? No.\n</think>\n\n7", (1, 1, 1)),
        ("mathvista", "Of 9, two are out.\n\nFinal value: 7", (1, 1, 1)),
    ],
)  # fmt: skip
def test_official_credit_as_none_tags_and_full_read_it(
    task: str, response: str, official: tuple[float, float, float]
) -> None:
    ways = ("none", "tags", "full")
    found = [values(task, response, Reading(final_answer=way))["official"] for way in ways]  # type: ignore[arg-type]
    assert found == list(official)


@pytest.mark.parametrize(
    ("task", "response", "lmms"),
    [
        ("textvqa", "<think>x</think>\nNorthwind", 1),
        ("textvqa", "x</think>Northwind", 1),
        ("textvqa", "<analysis>x</analysis>Northwind", 1),
        ("textvqa", "<think>x</think><answer>Northwind</answer>", 0),
        ("docvqa", "<think>x</think>\n\nMarch 4, 1971", 1),
        ("mmmu", f"{THOUGHT}B", 1),
        ("mmmu", f"{THOUGHT}<answer>B</answer>", 0.25),
        ("mmmu", "<think>It could be (A). I compare", 0),
        ("mmbench", "<think>A or C</think>B", 1),
        ("mathvista", "<think>9</think>7", 1),
    ],
)
def test_lmms_strips_reasoning_by_default_and_official_does_not(
    task: str, response: str, lmms: float
) -> None:
    assert values(task, response, Reading())["lmms"] == lmms


def test_vlmevalkit_splits_thought_only_where_it_is_asked_to() -> None:
    response = f"{THOUGHT}B"
    assert values("mmmu", response, Reading())["vlmevalkit"] == 0
    split = values("mmmu", response, Reading(split_think=True))
    assert (split["vlmevalkit"], split["official"]) == (1, 0)


def test_strict_takes_outer_blanks_for_nothing() -> None:
    assert values("mmmu", "\n\nB", Reading())["strict"] == 1
    assert values("mmmu", "B \n", Reading())["strict"] == 1


def test_what_was_scored_and_how_it_was_found_stand_in_the_file(score: Any) -> None:
    lines = [textvqa(1, "<think>x</think> Northwind"), textvqa(2, "Northwind")]
    read, plain = score("textvqa", lines, "--final-answer", "tags").scores
    assert (read["final_answer"], read["final_answer_how"]) == ("Northwind", ["thought"])
    assert "final_answer" not in plain
    assert all("final_answer" not in one for one in score("textvqa", lines).scores)


def test_the_headlines_row_says_what_another_way_to_read_gives(score: Any) -> None:
    lines = [textvqa(n, "<answer>Northwind</answer>" if n < 2 else "Northwind") for n in range(20)]
    row = next(r for r in score("textvqa", lines).out.splitlines() if r.startswith("official *"))
    assert "10.0 % of the responses have blanks or marks" in row
    assert "--final-answer tags gives 100.00" in row
    document = score("textvqa", lines, "--json").json
    assert document["score"] == pytest.approx(90)
    assert document["answers"]["scores"]["tags"]["official"] == pytest.approx(100)
    assert (document["final_answer"], document["profiles"]["lmms"]["follows"]) == (
        "none",
        "lmms-eval 0.7.3",
    )


def test_a_few_marked_responses_are_not_told(score: Any) -> None:
    lines = [textvqa(n, "<answer>Northwind</answer>" if n < 1 else "Northwind") for n in range(20)]
    assert "of the responses" not in score("textvqa", lines).out
    assert "answers" not in score("textvqa", lines, "--json").json


def test_cut_off_and_empty_responses_are_told() -> None:
    task = find("textvqa")
    sample = task.read(Row(textvqa(1, "")["sample"], where="", key="1"))
    tally = Tally(task.profiles)
    given = [("Northwind", True), ("", False), *[("Northwind", False)] * 8]
    pairs = [
        (sample, Prediction(id=str(n), response=text, is_cut_off=is_cut_off))
        for n, (text, is_cut_off) in enumerate(given)
    ]
    for one in scores_of(task, pairs):
        tally.add(one)
    text = tally.answer_marks().text("official", "none")
    assert "10.0 % cut off" in text and "--max-new-tokens" in text and "10.0 % empty" in text


def test_other_ways_score_whole_groups_of_rotations(score: Any) -> None:
    rotated = [mmbench(turn * 1_000_000 + 7, "<answer>B</answer>") for turn in (1, 2, 3)]
    document = score("mmbench", [mmbench(7, "B"), *rotated], "--json").json
    assert document["score"] == 0
    assert document["answers"]["scores"]["tags"]["official"] == 100


def test_a_judge_reads_the_letters_that_rules_do_not_find(score: Any) -> None:
    lines = [mmmu(1, "It is the metal one."), mmmu(2, "(A)"), mmmu(3, "(B)")]
    outcome = score("mmmu", lines, "--judge", "constant:B", "--json")
    assert [one["value"] for one in outcome.scores] == [1, 0, 1]
    agreement = {"num_read": 3, "num_compared": 2, "num_alike": 1}
    assert outcome.json["judge"] == {"model": "constant:B", **agreement}
    alone = score("mmmu", lines, "--judge", "constant:B", "--judge-check", "0")
    assert "the judge read 1 answer, none of which" in alone.out


def test_a_judge_reads_mmbench_too_and_z_is_no_option(score: Any) -> None:
    lines = [mmbench(1, "It is the metal one."), mmbench(2, "B")]
    found = score("mmbench", lines, "--vanilla", "--judge", "constant:The answer is (B).").scores
    assert [one["value"] for one in found] == [1, 1]
    found = score("mmbench", lines, "--vanilla", "--judge", "constant:Z").scores
    assert [one["value"] for one in found] == [0, 1]
