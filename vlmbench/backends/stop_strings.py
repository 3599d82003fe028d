"""Cutting an answer at its stop strings, which do not count while the model is still thinking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_NAMES = "think|thinking|thought|analysis|reasoning"

OPENING = re.compile(rf"\s*(?:<(?:{_NAMES})>|\[THINK\]|\u25c1think\u25b7|<\|channel\|?>)", re.I)
"""Mark at an answer's start: what follows is thought, not the answer."""

CLOSING = re.compile(
    rf"</(?:{_NAMES})>|\[/THINK\]|\u25c1/think\u25b7|<\|channel\|>final<\|message\|>|<channel\|>",
    re.I,
)
"""Mark that ends a thought, whose opening mark may stand in the prompt."""


class Cut(NamedTuple):
    """An answer up to its first stop string."""

    text: str
    is_stopped: bool
    """A stop string was there."""


def cut(text: str, stops: Sequence[str], *, is_thinking: bool = False) -> Cut:
    """The text before the first stop string that stands behind the model's thought.

    `is_thinking`: the prompt has opened the thought. As long as a thought is open nothing stops it.
    """
    if not stops:
        return Cut(text, False)
    start = max((mark.end() for mark in CLOSING.finditer(text)), default=0)
    if not start and (is_thinking or OPENING.match(text)):
        return Cut(text, False)
    places = [place for stop in stops if (place := text.find(stop, start)) >= 0]
    return Cut(text[: min(places)], True) if places else Cut(text, False)


def opens_thought(prompt: str) -> bool:
    """True if a prompt ends in an open thought, as templates of reasoning models write it."""
    last = max((mark.start() for mark in OPENING.finditer(prompt)), default=-1)
    return last >= 0 and not OPENING.sub("", prompt[last:], count=1).strip()
