from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.metrics.vqa import (
    VQAV2_PROFILES,
    textvqa,
    textvqa_normalized,
    vqa_accuracy,
    vqav2,
    vqav2_normalized,
)
from vlmbench.schema import PROFILES, Profile, Verdict

Conformance = Callable[[str], tuple[list[dict[str, Any]], dict[str, Any]]]
ConformanceCases = Callable[[str], list[str]]

TOLERANCE = 1e-9  # what the conformance set promises
ROUNDING = 1e-12  # ours divides once where an evaluator averages ten quotients

ANY_STRING = st.text(st.characters())  # lone surrogates too
NEAR_WORDS = st.lists(
    st.sampled_from(
        [*"aA1.,?! \n-'s", "the", "two", "dont", "'s", "é", "\uff11", "\u0130", "\u03a3"]
    ),
    max_size=6,
).map("".join)
ANNOTATIONS = st.lists(NEAR_WORDS, min_size=1, max_size=3).flatmap(
    lambda pool: st.lists(st.sampled_from(pool), min_size=10, max_size=10)
)


def test_vqa_verdicts_and_scores_are_the_official_evaluators(
    conformance: Conformance, conformance_cases: ConformanceCases
) -> None:
    for case in conformance_cases("vqa/*"):
        rows, expected = conformance(case)
        total_vqav2 = total_textvqa = 0.0
        for row in rows:
            want = expected["samples"][str(row["id"])]
            got_vqav2 = vqav2(row["prediction"], row["answers"])
            got_textvqa = textvqa(row["prediction"], row["answers"])
            assert abs(got_vqav2.value - want["vqa"]) < TOLERANCE, row
            assert abs(got_textvqa.value - want["textvqa"]) < TOLERANCE, row
            if "vqa_normalized" in want:
                assert got_vqav2.parsed == want["vqa_normalized"], row
                assert got_textvqa.parsed == want["textvqa_normalized"], row
            total_vqav2 += got_vqav2.value
            total_textvqa += got_textvqa.value
        want = expected["aggregate"]
        assert 100 * total_vqav2 / len(rows) == pytest.approx(want["vqa"]["overall_unrounded"])
        assert total_textvqa / len(rows) == pytest.approx(want["textvqa"]["accuracy"]), case


def test_textvqa_verdicts_on_model_outputs_are_the_official_evaluators(
    conformance: Conformance, conformance_cases: ConformanceCases
) -> None:
    for case in conformance_cases("textvqa/*"):
        rows, expected = conformance(case)
        for row in rows:
            want = expected["samples"][str(row["question_id"])]
            assert abs(textvqa(row["prediction"], row["answers"]).value - want) < TOLERANCE, row
        want_mean = expected["aggregate"]["accuracy"]
        assert mean(textvqa, rows) == pytest.approx(want_mean, abs=TOLERANCE), case


def test_textvqa_of_llava_1_5_13b_is_the_papers_61_3(conformance: Conformance) -> None:
    rows, _ = conformance("textvqa/llava-1.5-13b")
    assert 100 * mean(textvqa, rows) == pytest.approx(61.254, abs=TOLERANCE)


def test_textvqa_scores_under_vlmevalkit_are_what_its_newest_rules_give(
    conformance: Conformance, conformance_cases: ConformanceCases
) -> None:
    for case in conformance_cases("textvqa/*"):
        rows, expected = conformance(case)
        figures = expected["recomputed_with_vlmevalkit_scorer"]
        (newest,) = [figure for version, figure in figures.items() if version.startswith("newest")]
        got = 100 * mean(textvqa, rows, "vlmevalkit")
        assert got == pytest.approx(newest, abs=TOLERANCE), case


def test_the_mean_over_left_out_annotators_is_the_accuracy() -> None:
    for num_answers in range(1, 13):
        for num_matches in range(num_answers + 1):
            matched = [place < num_matches for place in range(num_answers)]
            terms = [min(1, (num_matches - left_out) / 3) for left_out in matched]
            want = sum(terms) / num_answers
            assert vqa_accuracy(num_matches, num_answers) == pytest.approx(want, abs=ROUNDING)


@pytest.mark.parametrize(("num_matches", "num_answers"), [(0, 0), (-1, 10), (11, 10)])
def test_accuracy_of_impossible_counts_is_refused(num_matches: int, num_answers: int) -> None:
    with pytest.raises(ValueError, match="num_matches"):
        vqa_accuracy(num_matches, num_answers)


@pytest.mark.parametrize(
    ("response", "answers", "official", "lmms"),
    [
        pytest.param("Yes", ["yes"] * 10, 0.0, 1.0, id="unanimous gold is matched as it stands"),
        pytest.param("two", ["2"] * 10, 0.0, 1.0, id="unanimous: no number words"),
        pytest.param("the cat", ["cat"] * 10, 0.0, 1.0, id="unanimous: articles stay"),
        pytest.param("yes.", ["yes"] * 10, 0.0, 1.0, id="unanimous: periods stay"),
        pytest.param(" yes\n", ["yes", "yes\t"] * 5, 1.0, 1.0, id="unanimous once stripped"),
        pytest.param(
            "x y", ["x\ty"] * 5 + ["x\ny"] * 5, 1.0, 1.0, id="tabs and newlines are spaces"
        ),
        pytest.param("a  b", ["a b"] * 10, 0.0, 1.0, id="unanimous: inner spaces count"),
        pytest.param("Yes", ["yes"] * 9 + ["no"], 1.0, 1.0, id="one dissenter: normalised"),
        pytest.param("5.", ["5"] * 8 + ["6"] * 2, 1.0, 1.0, id="period after a digit goes"),
        pytest.param("", ["a"] * 9 + ["b"], 1.0, 1.0, id="an article normalises to nothing"),
        pytest.param("1,,2!x", ["12x"] * 9 + ["b"], 0.0, 1.0, id="lmms: commas between digits"),
        pytest.param(
            "x.\uff11", ["x\uff11"] * 9 + ["b"], 1.0, 0.0, id="only ASCII digits save a period"
        ),
        pytest.param("yes", ["yes"] * 1 + ["no"] * 9, 0.3, 0.3, id="one of ten"),
        pytest.param("yes", ["yes"] * 2 + ["no"] * 8, 0.6, 0.6, id="two of ten"),
        pytest.param("yes", ["yes"] * 3 + ["no"] * 7, 0.9, 0.9, id="three of ten, not 1"),
        pytest.param("yes", ["yes"] * 4 + ["no"] * 6, 1.0, 1.0, id="four of ten"),
    ],
)
def test_vqav2_and_lmms_eval_differ_only_where_known(
    response: str, answers: list[str], official: float, lmms: float
) -> None:
    assert vqav2(response, answers).value == pytest.approx(official, abs=ROUNDING)
    assert vqav2(response, answers, "lmms").value == pytest.approx(lmms, abs=ROUNDING)


@pytest.mark.parametrize(
    ("response", "answers", "official", "vlmevalkit"),
    [
        pytest.param("5.", ["5"] * 8 + ["6"] * 2, 1.0, 0.0, id="VLMEvalKit: period after a digit"),
        pytest.param("5.", ["5"] * 10, 1.0, 0.0, id="the same, unanimous"),
        pytest.param("Yes", ["yes"] * 10, 1.0, 1.0, id="unanimous gold is normalised too"),
        pytest.param("a,b", ["a b"] * 9 + ["c"], 0.0, 1.0, id="deleting the comma joins"),
        pytest.param("it's", ["it 's"] * 9 + ["c"], 1.0, 0.0, id="the possessive is parted"),
        pytest.param("yes\n", ["yes"] * 10, 1.0, 1.0, id="outer white space"),
    ],
)
def test_textvqa_and_vlmevalkit_differ_only_where_known(
    response: str, answers: list[str], official: float, vlmevalkit: float
) -> None:
    assert textvqa(response, answers).value == pytest.approx(official, abs=ROUNDING)
    assert textvqa(response, answers, "lmms").value == pytest.approx(official, abs=ROUNDING)
    assert textvqa(response, answers, "vlmevalkit").value == pytest.approx(vlmevalkit, abs=ROUNDING)


@pytest.mark.parametrize(
    ("text", "for_vqav2", "for_textvqa"),
    [
        pytest.param("2-3", "2 3", "2 3", id="a tight mark becomes a space"),
        pytest.param("a-b c - d", "ab c d", "ab c d", id="spaced anywhere: deleted everywhere"),
        pytest.param("yes,it is", "yes it is", "yesit is", id="TextVQA deletes commas first"),
        pytest.param("1,000", "1000", "1000", id="comma between digits"),
        pytest.param("1,000-2", "10002", "1000 2", id="that comma deletes all marks, VQAv2 only"),
        pytest.param("no?", "no", "no", id="a mark at the end"),
        pytest.param("9.99$", "9.99$", "9.99$", id="other marks stay"),
        pytest.param("10:30 & 5%", "10:30 & 5%", "10:30 & 5%", id="colon, ampersand, percent"),
        pytest.param("u.s.a.", "usa", "usa", id="periods before letters go"),
        pytest.param("x.5 .5 3.5.", "x.5 .5 3.5", "x.5 .5 3.5", id="periods before digits stay"),
        pytest.param(
            "x.\uff11", "x\uff11", "x.\uff11", id="a full-width digit is one for Python 3 only"
        ),
        pytest.param("." * 33 + "x", ".x", ".x", id="at most 32 periods"),
        pytest.param("none", "0", "0", id="none is a number"),
        pytest.param("ten-speed", "10 speed", "10 speed", id="number words after punctuation"),
        pytest.param("(two)", "2", "2", id="in brackets"),
        pytest.param("eleven", "eleven", "eleven", id="no number beyond ten"),
        pytest.param("a/b", "b", "b", id="an article may come of punctuation"),
        pytest.param("The", "", "", id="an article alone"),
        pytest.param("one's", "one's", "1 's", id="possessive of a number"),
        pytest.param("dont oclock", "don't o'clock", "don't o'clock", id="contractions"),
        pytest.param("couldn'tve ydve", "couldn't've ydve", "couldn't've ydve", id="one of two"),
        pytest.param("y'alld've", "y'all'd've", "y'all'd've", id="one apostrophe of three"),
        pytest.param("yalldve", "yalldve", "yalldve", id="but not with all three missing"),
        pytest.param("ow's'at", "'ow's'at", "ow 's'at", id="a leading apostrophe"),
        pytest.param("somebody'd", "somebodyd", "somebodyd", id="the table's odd one"),
        pytest.param("Im Ive ill its", "im ive ill its", "im ive ill its", id="no contractions"),
        pytest.param("that's", "that's", "that 's", id="and then no contraction of thats"),
        pytest.param("\u0130\u039f\u03a3", "i\u03bf\u03c3", "i\u0307\u03bf\u03c2", id="Python 2"),
        pytest.param(" \n\t ", "", "", id="white space"),
    ],
)
def test_normalisation_follows_each_evaluator(text: str, for_vqav2: str, for_textvqa: str) -> None:
    assert vqav2_normalized(text) == for_vqav2
    assert textvqa_normalized(text) == for_textvqa


@pytest.mark.parametrize("score", [vqav2, textvqa])
@pytest.mark.parametrize("response", ["", " \n", "the", "?.", "a An"])
def test_an_answer_of_nothing_matches_only_what_was_written_under_strict(
    score: Callable[..., Verdict], response: str
) -> None:
    answers = ["a"] * 9 + ["b"]
    assert score(response, answers) == Verdict(value=1.0, parsed="", how="normalised")
    is_blank, is_given = not response.strip(), response.strip().lower() == "a"
    how, parsed = ("empty", None) if is_blank else ("literal", response.strip().lower())
    value = 1.0 if is_given else 0.0
    assert score(response, answers, "strict") == Verdict(value=value, parsed=parsed, how=how)


def test_under_strict_vqav2_a_unanimous_article_is_an_answer() -> None:
    assert vqav2("a", ["a"] * 10, "strict") == Verdict(value=1.0, parsed="a", how="unanimous")


@given(NEAR_WORDS, ANNOTATIONS)
def test_strict_is_official_for_an_answer_of_something(response: str, answers: list[str]) -> None:
    for score in (vqav2, textvqa):
        official = score(response, answers)
        assert score(response, answers, "strict") == official or not official.parsed


@given(ANNOTATIONS)
def test_an_annotators_answer_is_worth_the_number_of_annotators_who_gave_it(
    answers: list[str],
) -> None:
    """So it is worth 1 exactly where four or more of the ten gave it."""
    lines = [answer.replace("\n", " ").strip() for answer in answers]
    unanimous = len(set(lines)) == 1
    for score, texts in (
        (vqav2, lines if unanimous else [vqav2_normalized(answer) for answer in answers]),
        (textvqa, [textvqa_normalized(answer) for answer in answers]),
    ):
        num_matches = Counter(texts)
        for answer, text in zip(answers, texts, strict=True):
            assert score(answer, answers).value == vqa_accuracy(num_matches[text], 10)
            assert (score(answer, answers).value == 1) == (num_matches[text] >= 4)


def test_four_annotators_of_a_real_question_are_right(
    conformance: Conformance, conformance_cases: ConformanceCases
) -> None:
    for case in conformance_cases("vqa/vqav2_val_subset_*"):
        rows, _ = conformance(case)
        for answers in (row["answers"] for row in rows):
            for answer, num_annotators in Counter(answers).items():
                if num_annotators >= 4:
                    for profile in VQAV2_PROFILES:
                        assert vqav2(answer, answers, profile).value == 1


@given(NEAR_WORDS, ANNOTATIONS)
def test_the_order_of_annotators_does_not_matter(response: str, answers: list[str]) -> None:
    for profile in VQAV2_PROFILES:
        assert vqav2(response, answers, profile) == vqav2(response, answers[::-1], profile)
    for profile in PROFILES:
        assert textvqa(response, answers, profile) == textvqa(response, answers[::-1], profile)


@given(ANY_STRING, st.lists(ANY_STRING, min_size=1, max_size=10))
def test_no_string_raises_or_leaves_the_unit_interval(response: str, answers: list[str]) -> None:
    given_answers = list(answers)
    verdicts = [vqav2(response, answers, profile) for profile in VQAV2_PROFILES]
    verdicts += [textvqa(response, answers, profile) for profile in PROFILES]
    assert all(0 <= verdict.value <= 1 for verdict in verdicts)
    assert answers == given_answers


@pytest.mark.parametrize("score", [vqav2, textvqa])
def test_no_annotators_are_refused(score: Callable[..., Verdict]) -> None:
    with pytest.raises(ValueError, match="answers is empty"):
        score("yes", [])


def test_vqav2_refuses_the_profile_of_vlmevalkit_which_does_not_score_it() -> None:
    with pytest.raises(ValueError, match="VQAv2 has no profile 'vlmevalkit'"):
        vqav2("yes", ["yes"] * 10, "vlmevalkit")


def mean(
    score: Callable[[str, list[str], Profile], Verdict],
    rows: list[dict[str, Any]],
    profile: Profile = "official",
) -> float:
    return sum(score(row["prediction"], row["answers"], profile).value for row in rows) / len(rows)
