"""Conversations of the recipe: what is asked, and how answers are worded."""

from __future__ import annotations

import random
from types import ModuleType

from vlmbench.schema import Prediction
from vlmbench.task import prompts
from vlmbench.task.loading import find


def test_lookups_ask_for_a_letter_without_a_picture(tiny: ModuleType) -> None:
    letters = set()
    for seed in range(20):
        told = tiny.text_only.letters("lookup", random.Random(seed))
        assert len(told.turns) == tiny.text_only.MAX_TURNS and not told.shared
        for turn in told.turns:
            (question,) = turn.content
            text = question.removeprefix("Question: which letter is ").partition("?\n")[0]
            letter = turn.answer.removeprefix(f"{text} (").removesuffix(")")
            assert f"\n{letter}. {text}\n" in question
            letters.add(letter)
    assert letters >= set("ABCD")


def test_a_choice_is_named_before_its_letter(tiny: ModuleType) -> None:
    """Such an answer gets the official verdict that its letter would."""
    for name in tiny.text_only.TASKS_WITH_OPTIONS:
        task = find(name)
        for number in range(30):
            (sample, *_) = tiny.scenes.samples(name, "train", number)
            if not tiny.conversations.has_text_options(sample.options):
                continue
            exercise, rng = (sample, ""), random.Random(number)
            (turn,) = tiny.conversations.conversation([exercise], task.form, name, rng).turns
            right = prompts.gold(sample, task.form)
            assert turn.answer == f"{sample.options[right]} ({right})"
            for letter, text in sample.options.items():
                prediction = Prediction(id=sample.id, response=f"{text} ({letter})")
                verdict = task.score(sample, prediction, "official")
                assert verdict.value == (letter == right)


def test_a_rationale_stands_before_the_answer(tiny: ModuleType) -> None:
    answers = {}
    for name in ("mmmu", "mathvista"):
        form = find(name).form
        for number in range(60):
            asked = tiny.scenes.exercises(name, "train", number)
            told = tiny.conversations.conversation(asked, form, name, random.Random(number))
            for (sample, rationale), turn in zip(asked, told.turns, strict=True):
                if rationale:
                    final = turn.answer.removeprefix(f"{rationale} ")
                    gold = prompts.gold(sample, form)
                    answers[final] = gold
                    text = sample.options.get(gold, "")
                    named = (
                        f"{text} ({gold})"
                        if tiny.conversations.has_text_options(sample.options)
                        else f"({gold})"
                    )
                    assert final == (named if sample.options else gold)
    assert len(answers) > 20


def test_large_exercises_need_no_splitting(tiny: ModuleType) -> None:
    wording = tiny.conversations.Wording(split_small=0.0, all_questions=True, large_text_only=True)
    for name in ("textvqa", "docvqa"):
        turns = []
        for seed in range(30):
            told = tiny.mixture.of_scene(name, random.Random(seed), wording)
            (image,) = told.shared
            assert max(image.size) <= tiny.sizes.LONGEST and not told.split
            turns.append(len(told.turns))
        assert max(turns) <= tiny.mixture.MAX_TURNS_OF_ALL and sum(turns) > 30 * 3


def test_conclusions_have_all_they_follow_from(tiny: ModuleType) -> None:
    for seed in range(30):
        told = tiny.text_only.conclude(random.Random(seed))
        assert len(told.turns) == tiny.text_only.MAX_TURNS and not told.shared
        for turn in told.turns:
            (question,) = turn.content
            rationale = next(
                turn.answer[:end]
                for end in range(len(turn.answer), 0, -1)
                if question.startswith(f"Question: {turn.answer[:end]} ")
            )
            final = turn.answer.removeprefix(rationale).strip()
            assert final and "<image" not in question
            if "Choices:" in question:
                text, _, letter = final.removesuffix(")").rpartition(" (")
                assert f"\n{letter}. {text}\n" in question
