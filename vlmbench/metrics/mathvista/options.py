"""Options named or mentioned in plain text."""

from __future__ import annotations

import re
from functools import lru_cache

from vlmbench.metrics.mathvista.notation import choice_keys, key, plain
from vlmbench.metrics.mathvista.problem import Problem

_QUANTITY = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?:[°%]|[a-z]{1,12})?\s*\.?\s*")
_MAX_QUANTITY = 100
_DENIED_BEFORE = re.compile(
    r"(?:\bnot|n't|\bneither|\bnor|\bthan|\binstead of)(?: an?| the)? \Z", re.IGNORECASE
)
_DENIED_AFTER = re.compile(
    r"(?:,? which)?(?: is(?: also)?)? (?:not (?:correct|right|the answer)|incorrect|wrong)\b",
    re.IGNORECASE,
)
_DENIAL = 30
"""Characters before and after a mention in which a denial is looked for."""


def named(text: str, problem: Problem) -> str | None:
    """The letter of the option with this plain text, or with this number, units set aside."""
    keys = choice_keys(problem.choices)
    if text and key(text) in keys:
        return problem.letters[keys.index(key(text))]
    number = value(text)
    if number is not None:
        for letter, choice in zip(problem.letters, problem.choices, strict=True):
            if value(plain(choice)) == number:
                return letter
    return None


def mentioned(text: str, problem: Problem) -> list[str]:
    """The letters of the options whose texts stand in the plain text as words, in its order.

    "It is a dog, not a cat." mentions "dog" alone.
    """
    keys = choice_keys(problem.choices)
    found = [match for match in _mention(keys).finditer(text) if not is_denied(match)]
    return [problem.letters[keys.index(key(match[0]))] for match in found if key(match[0]) in keys]


def is_denied(match: re.Match[str]) -> bool:
    """True if the words around a match deny it: "not (A)", "(A) is incorrect"."""
    before = match.string[max(0, match.start() - _DENIAL) : match.start()]
    after = match.string[match.end() : match.end() + _DENIAL]
    return bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after))


@lru_cache(maxsize=4096)
def _mention(keys: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(filter(None, keys), key=len, reverse=True)
    texts = "|".join(r"\s+".join(map(re.escape, text.split(" "))) for text in longest_first)
    return re.compile(rf"(?<![\w.√/^-])(?:{texts or '(?!)'})(?![\w√/^]|\.\d)", re.IGNORECASE)


def value(text: str) -> float | None:
    """The number that a short text is, with or without a unit: "140", "140°", "5 cm"."""
    number = _QUANTITY.fullmatch(text) if len(text) <= _MAX_QUANTITY else None
    return float(number[1]) if number else None
