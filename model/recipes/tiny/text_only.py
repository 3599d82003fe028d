"""Conversations without pictures: letters of options, and answers that follow from a rationale."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from idefics2.train.samples import Conversation, Turn

from .conversations import answer_to, has_text_options, named
from .scenes import exercises, samples, task_of, training_part

MAX_TURNS = 6

TASKS_WITH_OPTIONS = ("mmmu", "mathvista", "mmbench")

TASKS_WITH_RATIONALES = ("mmmu", "mathvista")


def letters(source: str, rng: random.Random) -> Conversation:
    """Questions for the letter of an option's text; `source` is one of `LETTERS`."""
    turns: list[Turn] = []
    while len(turns) < MAX_TURNS:
        task = rng.choice(TASKS_WITH_OPTIONS)
        scene = samples(task, training_part(task, rng), rng.randrange(10**9))
        asked = (sample.options for sample in scene if has_text_options(sample.options))
        turns += [LETTERS[source](options, rng) for options in asked]
    return Conversation(turns=tuple(turns[:MAX_TURNS]), layout="independent", source=source)


def conclude(rng: random.Random) -> Conversation:
    """Questions that contain the rationale, whose answer repeats it and concludes."""
    turns: list[Turn] = []
    while len(turns) < MAX_TURNS:
        task = rng.choice(TASKS_WITH_RATIONALES)
        form = task_of(task).form
        found = exercises(task, training_part(task, rng), rng.randrange(10**9))
        for sample, rationale in found:
            if rationale:
                asked = re.sub("<image [0-9]> ?", "", sample.question)
                choices = _choices(sample.options) if has_text_options(sample.options) else ""
                text = f"Question: {rationale} {asked}\n{choices}Answer with what follows."
                turns.append(Turn((text,), answer_to(sample, form, rationale)))
    return Conversation(turns=tuple(turns[:MAX_TURNS]), layout="independent", source="conclude")


def _lookup(options: Mapping[str, str], rng: random.Random) -> Turn:
    """Asks for the letter of a text that the question names."""
    letter, text = rng.choice(tuple(options.items()))
    return _choice(f"which letter is {text}?", options, letter)


def _pick(options: Mapping[str, str], rng: random.Random) -> Turn:
    """Asks for any option's text and its letter."""
    return _choice("pick one.", options, rng.choice(tuple(options)))


def _choice(question: str, options: Mapping[str, str], letter: str) -> Turn:
    asked = f"Question: {question}\n{_choices(options)}Answer with the letter."
    return Turn((asked,), named(options[letter], letter))


def _choices(options: Mapping[str, str]) -> str:
    return "Choices:\n" + "".join(f"{key}. {value}\n" for key, value in options.items())


LETTERS = {"lookup": _lookup, "pick": _pick}
