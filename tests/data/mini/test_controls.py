"""Baselines that see no picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from vlmbench.data.rows import Row
from vlmbench.reports import controls
from vlmbench.schema import Sample
from vlmbench.task import loading


def choice(id: str, question: str, options: str, gold: str, **more: Any) -> Sample:
    lettered = dict(zip("ABCD", options.split(), strict=False))
    return Sample(
        id=id, image_group=id, question=question, options=lettered, answers=(gold,), **more
    )


def opened(id: str, question: str, answer: str, kind: str = "") -> Sample:
    groups = {"answer_type": (kind,)} if kind else {}
    return Sample(id=id, image_group=id, question=question, answers=(answer,), breakdown=groups)


TRAINING = [
    choice("1", "color?", "red blue", "A"),
    choice("2", "color?", "blue red", "B"),
    choice("3", "color?", "red blue", "B"),
    choice("4", "shape?", "cross star", "B"),
    choice("5", "shape?", "cross star disc", "C"),
]


def test_majority_is_the_commonest_letter_among_as_many_options() -> None:
    known = controls.prior(TRAINING)
    assert known.majority(choice("x", "new?", "a b", "A")) == "B"
    assert known.majority(choice("x", "new?", "a b c", "A")) == "C"


def test_question_only_turns_with_the_options_text() -> None:
    known = controls.prior(TRAINING)
    assert known.question_only(choice("x", "color?", "blue red", "A")) == "B"
    assert known.question_only(choice("x", "color?", "red blue", "A")) == "A"


def test_question_only_falls_back_on_the_majority() -> None:
    known = controls.prior(TRAINING)
    assert known.question_only(choice("x", "new?", "blue red", "A")) == "B"
    assert known.question_only(choice("x", "color?", "pink gray", "A")) == "B"


def test_open_questions_are_counted_by_type_of_answer() -> None:
    training = [opened(str(i), "a?", "yes", "yes/no") for i in range(3)]
    training += [opened("n", "how many?", "2", "number")]
    known = controls.prior(training)
    assert known.majority(opened("x", "how few?", "5", "number")) == "2"
    assert known.question_only(opened("x", "how many?", "5", "yes/no")) == "2"
    assert known.majority(opened("x", "what?", "cat", "other")) == ""


def test_equally_common_answers_go_by_the_alphabet_not_by_order() -> None:
    pair = [opened("1", "a?", "no"), opened("2", "a?", "go")]
    for training in (pair, pair[::-1]):
        assert controls.prior(training).majority(opened("x", "b?", "no")) == "go"


def test_an_option_given_as_text_counts_as_its_letter() -> None:
    known = controls.prior([choice("1", "which?", "red blue", "blue")])
    assert known.majority(choice("x", "new?", "a b", "A")) == "B"


def test_chance_is_the_share_of_one_option_and_zero_for_an_open_question() -> None:
    mmmu = loading.find("mmmu")
    samples = [choice("1", "q?", "a b c d", "A"), opened("2", "q?", "x")]
    assert [s.value("official") for s in controls.chance(mmmu, samples)] == [0.25, 0.0]


def test_circular_chance_is_that_of_independent_guesses_in_every_rotation() -> None:
    mmbench = loading.find("mmbench")
    group = [
        choice(str(r), "q?", "a b c", "ACB"[r], circular_group="7", rotation=r) for r in range(3)
    ]
    found = list(controls.chance(mmbench, group))
    assert found[0].value("official") == pytest.approx(1 / 27)
    assert [s.value("official") for s in found[1:]] == [None, None]


def test_a_hidden_answer_is_refused() -> None:
    hidden = Sample(id="5", image_group="5", question="q?")
    with pytest.raises(ValueError, match="sample 5 has no public answer"):
        controls.scores(loading.find("vqav2"), [hidden], [])


@pytest.fixture(scope="session")
def found(rows: Callable[..., list[dict[str, Any]]]) -> Callable[[str], dict[str, Any]]:
    @cache
    def summaries(name: str) -> dict[str, Any]:
        used = loading.find(name)
        samples = [used.read(Row(row, where="test")) for row in rows(name, "test", 300)]
        by_name = controls.summaries(used, samples, controls.training_samples(used, 300))
        assert set(by_name) == set(controls.CONTROLS)
        assert all(set(profiles) == set(used.profiles) for profiles in by_name.values())
        return {name: profiles["official"] for name, profiles in by_name.items()}

    return summaries


@pytest.mark.parametrize(
    ("name", "most"), [("vqav2", 0.4), ("mathvista", 0.22), ("mmmu", 0.33), ("mmbench", 0.12)]
)
def test_who_sees_no_picture_scores_near_chance(name: str, most: float, found: Any) -> None:
    scored = found(name)
    for control in ("majority", "question only"):
        summary = scored[control]
        assert summary.estimate.mean < most, control
        assert summary.failed == 0
        assert summary.estimate.low <= summary.estimate.mean <= summary.estimate.high
    assert scored["chance"].estimate.mean < most


def test_one_letter_for_all_is_never_right_in_every_rotation(found: Any) -> None:
    summary = found("mmbench")["majority"]
    assert summary.estimate.mean == 0
    assert summary.breakdown["vanilla"]["all rows"].mean == pytest.approx(0.29, abs=0.06)
