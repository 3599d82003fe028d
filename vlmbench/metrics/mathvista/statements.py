"""Statements compared with a yes/no question, and with the texts of several options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from vlmbench.metrics.mathvista.number_rules import concludes
from vlmbench.metrics.mathvista.reading import REFUSAL

_NEGATION = re.compile(
    r"\b(?:not|no|never|neither|none|nor|cannot|without|incorrect|false)\b(?! only)|n't\b",
    re.IGNORECASE,
)
_LESS = re.compile(r"\b(?:less|fewer|smaller|lower|shorter|lighter|younger)\b", re.IGNORECASE)
_MORE = re.compile(
    r"\b(?:more|greater|larger|higher|bigger|longer|taller|heavier|older)\b", re.IGNORECASE
)
_SUPPOSES = re.compile(r"\b(?:if|whether)\b|\?\s*\Z", re.IGNORECASE)
_STOP_WORDS = frozenset(
    (
        *("also", "and", "are", "based", "can", "could", "did", "does", "for", "from", "had"),
        *("has", "have", "image", "its", "more", "number", "should", "than", "that", "the"),
        *("there", "this", "was", "were", "will", "with", "would"),
    )
)
_STEM = 5
"""Letters of a word that are compared: "decreases" and "decreasing" are one."""

_MIN_SHARE = 0.5
_MIN_OVERLAP = 0.6


def affirms(sentences: Sequence[str], question: str) -> bool | None:
    """True if the response's statement on the question amounts to yes, False if to no.

    None: it makes no such statement.

    The statement is the first sentence that repeats at least half of the question's words, or the
    last such one that begins with "therefore" or the like. It says no if it is negated, if it says
    "more" where the question says "less", or if it compares the two sides the other way round:
    "There are more red buses than cars." for "Are there more cars than red buses?".
    """
    question = re.split(r"(?<=\.)\s", question.strip())[-1]
    asked = _stems(question)
    about = [
        sentence
        for sentence in sentences
        if not (_SUPPOSES.search(sentence) or REFUSAL.search(sentence))
        and len(asked & _stems(sentence)) >= _MIN_SHARE * len(asked)
    ]
    if not (asked and about):
        return None
    statement = next((sentence for sentence in reversed(about) if concludes(sentence)), about[0])
    flips = (
        bool(_NEGATION.search(statement)),
        _compares(question, statement) or _compares(statement, question),
        _swaps_sides(question, statement),
    )
    return sum(flips) % 2 == 0


def best_overlap(sentence: str, texts: Sequence[str]) -> int | None:
    """The index of the one text most of whose words, but for those in all texts, `sentence` has."""
    sentence = re.sub(r"^\W*if [^,]*,", "", sentence, flags=re.IGNORECASE)
    said = _stems(sentence)
    shares = [len(own & said) / len(own) if own else 0.0 for own in _own_stems(tuple(texts))]
    best = max(shares)
    return shares.index(best) if best >= _MIN_OVERLAP and shares.count(best) == 1 else None


@lru_cache(maxsize=64)  # the sentences of a response ask one after another
def _own_stems(texts: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """The stems of each text, but for those in all."""
    words = [_stems(text) for text in texts]
    common = set.intersection(*words)
    return tuple(frozenset(word - common) for word in words)


def _compares(less: str, more: str) -> bool:
    """True if the first text says "less" and the second one only "more"."""
    return bool(_LESS.search(less) and _MORE.search(more) and not _LESS.search(more))


def _swaps_sides(question: str, statement: str) -> bool:
    left, than, right = question.partition(" than ")
    after = _stems(statement.partition(" than ")[2])
    lefts, rights = _stems(left), _stems(right)
    return bool(than) and len(after & (lefts - rights)) > len(after & (rights - lefts))


def _stems(text: str) -> set[str]:
    words = re.findall(r"\w+", text.casefold())
    return {word.rstrip("s")[:_STEM] for word in words if len(word) > 2 and word not in _STOP_WORDS}
