"""Samples of the mini tasks as conversations to be learnt, worded as the harness asks them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from PIL import Image

from idefics2.train.samples import Content, Conversation, Turn
from vlmbench.schema import Request, Sample
from vlmbench.task import prompts

from .sizes import LONGEST

STYLE = "idefics2"
"""Prompt style: the paper's, and the harness's default."""

SPLIT_LARGE, SPLIT_SMALL = 0.85, 0.35
"""Share of conversations whose pictures are split: where one is larger than a crop, and others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How scenes become conversations."""

    closed_weight: float = 1.0
    """Loss weight of the answers "yes" and "no"."""
    split_small: float = SPLIT_SMALL
    """Share of conversations with small pictures alone whose pictures are split."""
    all_questions: bool = False
    """True: a scene is asked all its questions, with rationales before the answers."""
    large_text_only: bool = False
    """True: signs and pages have large text only, in pictures that need no splitting."""


PLAIN = Wording()


def conversation(
    exercises: Iterable[tuple[Sample, str]],
    form: str,
    source: str,
    rng: random.Random,
    wording: Wording = PLAIN,
) -> Conversation:
    """A conversation about samples of the same pictures, each with its rationale or "".

    An option's text stands before its letter, as in "left (B)", since a decoder of few layers
    cannot do both steps in one token; for the same reason a rationale such as "3 + 4 =" stands
    before the sum.
    """
    turns = []
    shared: Content = ()
    for sample, rationale in exercises:
        request = prompts.request(sample, form=form, style=STYLE, max_new_tokens=None)
        shared, text = divided(request)
        answer = answer_to(sample, form, rationale)
        weight = wording.closed_weight if answer in ("yes", "no") else 1.0
        turns.append(Turn((text,), answer, weight))
    return Conversation(
        turns=tuple(turns),
        shared=shared,
        layout="independent",
        split=rng.random() < split_share(shared, wording.split_small),
        source=source,
    )


def answer_to(sample: Sample, form: str, rationale: str) -> str:
    """The answer to be learnt: the rationale, an option's text, and the gold answer."""
    answer = prompts.gold(sample, form)
    if has_text_options(sample.options):
        answer = named(sample.options[answer], answer)
    elif sample.options and rationale:
        answer = f"({answer})"
    return f"{rationale} {answer}" if rationale else answer


def named(text: str, letter: str) -> str:
    """An option's text with its letter."""
    return f"{text} ({letter})"


def has_text_options(options: Mapping[str, str]) -> bool:
    """True if there are options and none of them is a picture."""
    return bool(options) and not any("<image" in text for text in options.values())


def without_options(sample: Sample, form: str) -> Sample:
    """The sample as an open question, whose answer is the right option's text."""
    answer = sample.options[prompts.gold(sample, form)]
    return replace(sample, options={}, answers=(answer,))


def divided(request: Request) -> tuple[Content, str]:
    """The content before the last text, with pictures decoded, and that text."""
    *before, text = request.messages[-1].content
    assert isinstance(text, str)
    return tuple(piece if isinstance(piece, str) else piece.decode() for piece in before), text


def split_share(shown: Content, small: float) -> float:
    """Share of conversations about such pictures that are split; `small`: of crop size at most."""
    pictures = [piece for piece in shown if isinstance(piece, Image.Image)]
    return SPLIT_LARGE if any(max(each.size) > LONGEST for each in pictures) else small
