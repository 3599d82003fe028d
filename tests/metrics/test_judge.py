"""What a judge is asked about a MathVista response, and how its reply is read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlmbench.metrics.mathvista import Problem, judging, verdict_of_extraction

RESPONSE = "The bars end at 3 and 5, so it is the second one."
PROBLEM = Problem(
    question_type="multi_choice",
    answer_type="text",
    answer="taller",
    choices=("shorter", "taller"),
    question="How do the bars compare?",
)
LENGTH = Problem(
    question_type="free_form",
    answer_type="float",
    answer="0.5",
    precision=1.0,
    unit="m",
    question="How long?",
)


def test_the_judge_sees_an_instruction_examples_and_the_question_with_its_response() -> None:
    turns = judging.messages(RESPONSE, PROBLEM)
    assert [turn.role for turn in turns] == ["system", *["user", "assistant"] * 5, "user"]
    (instruction,), (asked,) = turns[0].content, turns[-1].content
    assert str(instruction).startswith("You read a question and another model's response to it.")
    assert asked == (
        "Question (answer with an option's letter): How do the bars compare?\n"
        "Options:\n(A) shorter\n(B) taller\n"
        f"Response: {RESPONSE}"
    )


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (LENGTH, "Question (answer with a number with 1 decimals): How long? (Unit: m)"),
        (replace(LENGTH, precision=None, unit=None), "Question (answer with a number): How long?"),
        (
            replace(LENGTH, answer_type="integer", unit=None),
            "Question (answer with an integer): How long?",
        ),
        (
            replace(LENGTH, answer_type="list", unit=None),
            "Question (answer with a Python list): How long?",
        ),
        (
            replace(LENGTH, answer_type="text", unit=None),
            "Question (answer with a short text): How long?",
        ),
    ],
    ids=["float", "any float", "integer", "list", "text"],
)
def test_the_question_says_what_kind_of_answer_it_wants(problem: Problem, line: str) -> None:
    assert judging.messages("r", problem)[-1].content == (f"{line}\nResponse: r",)


def test_a_long_response_is_shown_by_its_ends() -> None:
    (asked,) = judging.messages("first " + "x" * 50_000 + " last", PROBLEM)[-1].content
    assert len(str(asked)) < 13_000
    assert "first xxx" in str(asked)
    assert str(asked).endswith("xxx last")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (" B\n", "B"),
        ("Answer: B", "B"),
        ("Extracted answer: [1, 2]", "[1, 2]"),
        ("<think>A or B?</think>\nB", "B"),
        ("N/A", "N/A"),
        (" \n", ""),
        ("<think>well", ""),
    ],
)
def test_labels_and_reasoning_are_no_part_of_the_answer(written: str, value: str) -> None:
    assert judging.read(written) == value


def test_an_answer_that_was_read_is_judged_like_any_extraction() -> None:
    assert verdict_of_extraction(judging.read("Answer: B"), PROBLEM).value == 1
    assert verdict_of_extraction(judging.read("A"), PROBLEM).value == 0


@pytest.mark.parametrize(
    ("response", "problem", "value"),
    [
        ("taller", PROBLEM, "taller"),
        ("", PROBLEM, ""),
        (" \n", LENGTH, ""),
        ("0.50", LENGTH, "0.5"),
        (RESPONSE, PROBLEM, None),
        ("half a metre", LENGTH, None),
    ],
    ids=repr,
)
def test_what_the_official_script_takes_as_it_is_needs_no_judge(
    response: str, problem: Problem, value: str | None
) -> None:
    assert judging.known(response, problem) == value
