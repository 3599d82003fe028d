"""Exercises: the tasks' scenes with all their questions, and with rationales."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from types import ModuleType

import pytest

from vlmbench.data.mini import TASKS
from vlmbench.data.mini.scenes import Part
from vlmbench.metrics.mathvista.program import printed
from vlmbench.schema import Prediction, Sample
from vlmbench.task import loading, prompts

NUMBERS = range(60)
WORKED = ("mmmu", "mathvista")
DENSE = ("vqav2", "textvqa", "docvqa", "mathvista")


def asked(tiny: ModuleType, name: str) -> Iterator[tuple[Sample, str, str]]:
    """Samples, their rationales and their answers."""
    for number in NUMBERS:
        for sample, rationale in tiny.scenes.exercises(name, "train", number):
            yield sample, rationale, prompts.gold(sample, loading.find(name).form)


@pytest.mark.parametrize("name", WORKED)
def test_an_answer_with_its_rationale_gets_the_verdict_of_the_answer(
    tiny: ModuleType, name: str
) -> None:
    checked = 0
    for sample, rationale, gold in asked(tiny, name):
        final = f"({gold})" if sample.options else gold
        response = f"{rationale} {final}" if rationale else gold
        prediction = Prediction(id=sample.id, response=response)
        assert loading.find(name).score(sample, prediction, "official").value == 1, response
        assert loading.find(name).score(sample, prediction, "strict").value == 1, response
        checked += bool(rationale)
    assert checked >= 30


@pytest.mark.parametrize("name", WORKED)
def test_a_wrong_answer_after_a_right_rationale_is_wrong(tiny: ModuleType, name: str) -> None:
    checked = 0
    for sample, rationale, gold in asked(tiny, name):
        if not rationale or not (sample.options or gold.isdecimal()):
            continue
        others = [letter for letter in sample.options if letter != gold]
        final = f"({others[0]})" if others else str(int(gold) + 1)
        prediction = Prediction(id=sample.id, response=f"{rationale} {final}")
        assert loading.find(name).score(sample, prediction, "official").value == 0, prediction
        checked += 1
    assert checked >= 30


def test_rationales_are_true(tiny: ModuleType) -> None:
    """Both sides of an equation are equal; the yeses are as many as the answer says."""
    found = Counter[str]()
    for name in WORKED:
        for number in range(200):
            for sample, rationale in tiny.scenes.exercises(name, "practice", number):
                if not rationale.endswith("="):
                    continue
                answer = sample.answers[0]
                if sample.options:
                    answer = sample.options[prompts.gold(sample, loading.find(name).form)]
                if "yes" in rationale or "no" in rationale:
                    found["yes"] += 1
                    assert rationale.count("yes") == int(answer), (rationale, answer)
                    continue
                last = rationale.rpartition(":")[2].removesuffix("=")
                for equation in f"{last}= {answer}".split(", "):
                    sides = re.sub("[a-z]+ ", "", equation).split("= ")
                    values = {float(printed(f"print({side})") or "nan") for side in sides if side}
                    assert len(values) == 1, equation
                    found["equations"] += len(sides) > 1
    assert found["yes"] > 30 and found["equations"] > 100


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("part", ("train", "practice"))
def test_there_are_more_of_them_than_rows_and_no_two_alike(
    tiny: ModuleType, name: str, part: Part
) -> None:
    numbers = Counter[str]()
    for number in NUMBERS:
        questions = [sample.question for sample, _ in tiny.scenes.exercises(name, part, number)]
        numbers["exercises"] += len(questions)
        numbers["rows"] += len(tiny.scenes.samples(name, part, number))
        if name in DENSE:
            assert len(set(questions)) == len(questions), questions
    assert numbers["exercises"] > numbers["rows"] * (1.8 if name in DENSE else 0.8)


def test_all_exercises_of_a_scene_have_the_same_pictures(tiny: ModuleType) -> None:
    """As one pass through the vision tower serves them all."""
    for name in TASKS:
        for number in range(20):
            pictures = {
                tuple(picture.encoded() for picture in sample.images.values())
                for sample, _ in tiny.scenes.exercises(name, "train", number)
            }
            assert len(pictures) == 1
