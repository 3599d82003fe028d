"""A response read to its final answer, in two steps of which the first stands alone.

Every step either finds something or leaves the text as it is: a response in which nothing is marked
comes out as it went in, but for outer blanks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from vlmbench.metrics.final_answer import letters, objects, statements, tags
from vlmbench.metrics.final_answer.decoration import bare
from vlmbench.schema import FinalAnswer

VERSION = 1
"""Rises with any change of what is extracted: scores of two versions are never mixed."""

_PLAIN = re.compile(
    r"(?!.*(?:ans|answer|boxed|choice|correct|final|option|antwort|respuesta))"
    r"[A-Za-z0-9](?:[A-Za-z0-9 ,%-]{0,60}[A-Za-z0-9%])?",
    re.IGNORECASE,
)
MAX_RESPONSE = 200_000
"""Characters of a response that are read, those at its end: answers stand there."""


@dataclass(frozen=True, slots=True)
class Found:
    """The text that is scored, and the marks by which it was found."""

    text: str
    how: tuple[str, ...] = ()
    """ "thought", "answer tag", "special token", "box", "JSON", ...; none: there was no mark."""

    @property
    def is_marked(self) -> bool:
        """True: the answer stands in a wrapping; "B." and "(B)" are plain letters."""
        return any(mark not in (letters.LETTER, letters.OPTION_TEXT) for mark in self.how)

    @property
    def is_missing(self) -> bool:
        """True: the response has no final answer, as where a thought was never closed."""
        return not self.text


def is_plain(response: str, options: Mapping[str, str] | None) -> bool:
    """True if no way to read the response changes it, as it is with most answers; quickly told."""
    return bool(_PLAIN.fullmatch(response)) and (not options or response in options)


def extract(response: str, mode: FinalAnswer, options: Mapping[str, str] | None = None) -> Found:
    """The final answer in a response.

    - none: the response as it is.
    - tags: without thought (`<think>`, `<analysis>`, channels, all before a lone closing tag, ...),
      special tokens and outer blanks; of `<answer>`, `<CONCLUSION>`, `<|begin_of_box|>` and the
      like the content. An unclosed thought has no final answer.
    - full: as tags; then the answer key of a JSON object, the last box, the last line that states
      the final answer, or the text without bold, quotes and the like. With `options` (letter to
      text) it is the letter, where one is named.
    """
    if mode == "none" or is_plain(response, options):
        return Found(response)
    match mode:
        case "tags":
            return _tags(response)
        case "full":
            return _full(response, options or {})
        case _:
            assert_never(mode)


def _tags(response: str) -> Found:
    text, how = tags.untagged(response[-MAX_RESPONSE:])
    return Found(text, how)


def _full(response: str, options: Mapping[str, str]) -> Found:
    text, how = tags.untagged(response[-MAX_RESPONSE:])
    if not text:
        return Found(text, how)
    text = statements.before_echo(text)
    stated, mark = _stated(text)
    if options:
        letter, by = letters.read(text, stated, options)
        if letter:
            # a bare letter says nothing that the response did not say
            own = () if letter == text else ((mark,) if mark else ()) + (by,)
            return Found(letter, how + own)
        return Found(text, how)
    if stated:
        return Found(stated, (*how, mark))
    plain = bare(text)
    return Found(plain, how if plain == text else (*how, "decoration"))


def _stated(text: str) -> tuple[str, str]:
    """What the response itself marks as its answer, and the mark; empty: it marks nothing."""
    for mark, read in (
        ("JSON", objects.answer),
        ("box", statements.boxed),
        ("answer line", statements.stated),
    ):
        found = read(text)
        if found and found != text:
            return found, mark
    return "", ""
