from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.metrics.anls import anls, docvqa
from vlmbench.schema import PROFILES, Profile, Verdict

Conformance = Callable[[str], tuple[list[dict[str, Any]], dict[str, Any]]]
ConformanceCases = Callable[[str], list[str]]

TOLERANCE = 1e-9  # what the conformance set promises

ANY_STRING = st.text(st.characters())  # lone surrogates too
NEAR_STRINGS = st.text("abAß\u0130 .\n", max_size=6)


def test_anls_is_the_official_evaluators(
    conformance: Conformance, conformance_cases: ConformanceCases
) -> None:
    for case in conformance_cases("docvqa/*"):
        rows, expected = conformance(case)
        scores = []
        for row in rows:
            want = expected["samples"][str(row.get("id", row["question_id"]))]["docvqa"]
            scores.append(docvqa(row["prediction"], row["answers"]).value)
            assert abs(scores[-1] - want) < TOLERANCE, row
        want_mean = expected["aggregate"]["docvqa"]
        assert sum(scores) / len(scores) == pytest.approx(want_mean, abs=TOLERANCE), case


@pytest.mark.parametrize(
    ("prediction", "reference", "want"),
    [
        pytest.param("ax", "ab", 0.5, id="exactly half: the paper gives 0"),
        pytest.param("axx", "abb", 0, id="below half"),
        pytest.param("dog   ", "cat", 0.5, id="outer white space dilutes the errors"),
        pytest.param("aaa" + "\n" * 6, "bbb", 6 / 9, id="so do newlines"),
        pytest.param("a  b", "a b", 1, id="inner white space"),
        pytest.param("stra\u00dfe", "strasse", 5 / 7, id="sharp s"),
        pytest.param("\u00df\u00df", "\u00dfs", 0.75, id="sharp s counts twice"),
        pytest.param("", "", 1, id="both empty"),
        pytest.param(" ", "\n", 1, id="both blank"),
        pytest.param("", "a", 0, id="empty prediction"),
        pytest.param("abc.", "abc", 0.75, id="punctuation counts"),
        pytest.param("12/3/98", "12 / 3 / 98", 7 / 11, id="spaces in a date"),
        pytest.param("ABC", "abc", 1, id="case does not count"),
    ],
)
def test_anls_follows_the_servers_script_in_every_quirk(
    prediction: str, reference: str, want: float
) -> None:
    assert anls(prediction, [reference]) == pytest.approx(want)


@pytest.mark.parametrize(
    ("response", "answer", "scores"),
    [
        pytest.param(
            "dog   ",
            "cat",
            {"official": 0.5, "strict": 0, "lmms": 0, "vlmevalkit": 0.5},
            id="outer white space: lmms-eval strips the response",
        ),
        pytest.param(
            "d   og",
            "c at",
            {"official": 0.5, "strict": 0, "lmms": 0.5, "vlmevalkit": 0.5},
            id="inner white space: only strict leaves it out of the length",
        ),
        pytest.param(
            "dog",
            "cat   ",
            {"official": 0.5, "strict": 0, "lmms": 0.5, "vlmevalkit": 0.5},
            id="nobody but strict cleans the reference",
        ),
        pytest.param(
            "ax",
            "ab",
            {"official": 0.5, "strict": 0.5, "lmms": 0.5, "vlmevalkit": 0.5},
            id="exactly half stays, strict or not",
        ),
        pytest.param(
            " ",
            "",
            {"official": 1, "strict": 0, "lmms": 1, "vlmevalkit": 1},
            id="nothing said is right only where nothing was asked, and never under strict",
        ),
    ],
)
def test_profiles_differ_only_where_known(
    response: str, answer: str, scores: dict[Profile, float]
) -> None:
    got = {profile: docvqa(response, [answer], profile).value for profile in PROFILES}
    assert got == pytest.approx(scores)


def test_the_verdict_shows_the_answer_as_it_was_compared() -> None:
    assert docvqa(" The\n Cat ", ["dog", "the cat"]).parsed == "the cat"
    assert docvqa("\t", ["the cat"]).parsed == ""
    unparsed = Verdict(value=0.0, parsed=None, how="empty")
    assert docvqa("\t", ["the cat"], "strict") == unparsed


def test_the_nearest_reference_counts() -> None:
    assert docvqa("abcd", ["x", "abce", "abxx"]).value == 0.75


@given(st.lists(ANY_STRING, min_size=1, max_size=4))
def test_every_reference_is_worth_1_as_a_prediction(references: list[str]) -> None:
    for reference in references:
        assert docvqa(reference, references).value == 1
        assert docvqa(reference, references, "lmms").value == 1
        assert docvqa(reference, references, "vlmevalkit").value == 1
        strict = docvqa(reference, references, "strict")
        assert strict.value == 1 or strict.parsed is None


@given(NEAR_STRINGS, st.lists(NEAR_STRINGS, min_size=1, max_size=4))
def test_white_space_never_adds_credit_under_strict(response: str, answers: list[str]) -> None:
    tidy = docvqa(" ".join(response.split()), [" ".join(answer.split()) for answer in answers])
    strict = docvqa(response, answers, "strict")
    assert strict.value == tidy.value or strict.parsed is None


@given(NEAR_STRINGS, st.lists(NEAR_STRINGS, min_size=1, max_size=4))
def test_the_order_of_references_does_not_matter(response: str, answers: list[str]) -> None:
    for profile in PROFILES:
        assert docvqa(response, answers, profile) == docvqa(response, answers[::-1], profile)


@given(ANY_STRING, st.lists(ANY_STRING, min_size=1, max_size=4))
def test_no_string_raises_or_leaves_the_unit_interval(response: str, answers: list[str]) -> None:
    given_answers = list(answers)
    verdicts = [docvqa(response, answers, profile) for profile in PROFILES]
    assert all(0 <= verdict.value <= 1 for verdict in verdicts)
    assert answers == given_answers


def test_nothing_to_compare_with_is_refused() -> None:
    for profile in PROFILES:
        with pytest.raises(ValueError, match="answers is empty"):
            docvqa("", [], profile)
    with pytest.raises(ValueError, match="references is empty"):
        anls("", [])
