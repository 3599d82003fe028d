"""Normalisation of LaTeX, Markdown and Unicode in responses and choices to plain text."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_REASONING = re.compile(r"<(think|thinking|analysis)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_ECHO = re.compile(r"\n[ \t]*(?:Question|Hint|Choices)[ \t]*:")

_MARKS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u2032", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
        **dict.fromkeys("\u00d7\u22c5\u00b7", "*"),
    }
)
# No pattern starts with a repeated blank: on a long run of blanks that would take quadratic time.
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[^\S\n]+", " "),
        (r" ?\n ?", "\n"),
        (r"\n{3,}", "\n\n"),
        (r"\$\$?([^$\n]{1,200})\$\$?", r"\1"),
        (r"\*{2,}|__|`+|\$+(?!\d)|(?<=\w)\$", ""),
        (r"\\(?:text(?:bf|rm|it)?|math(?:rm|bf|it)|mbox|operatorname) ?\{([^{}]*)\}", r"\1"),
        (r"\\[dt]frac(?![a-z])", r"\\frac"),
        (r"(?:\\sqrt|√) ?\{ ?([^{}]*?) ?\}|\bsqrt ?\(([^()]*)\)", r"√\1\2"),
        (r"\\sqrt ?", "√"),
        (r"\\frac ?\{ ?([^{}]*?) ?\} ?\{ ?([^{}]*?) ?\}", r"\1/\2"),
        (r" ?\^ ?\{? ?\\?circ ?\}?| ?\*?\\degrees?\b| ?\bdegrees?\b", "°"),
        (r"\\pi(?![a-z])", "π"),
        (r"\\(?:cdot|times)(?![a-z])", "*"),
        (r"\\(?:left|right|quad|qquad)(?![a-z])|\\[,;:! ]|\\[()\[\]]", " "),
        (r"\\([%$&#_{}])", r"\1"),
        (r"\*(?=[a-zA-Zπ√(])", ""),
        (r"(?<=[\dπ)√]) (?=[π°√])", ""),
        (r"(?<=[\dπ)]) (?=(?:mm|cm|dm|km|m|海里|米)(?![a-zA-Z]))", ""),
    )
)


def without_reasoning(response: str) -> str:
    """The response without its `<think>` parts, which are not said to the user."""
    return _REASONING.sub("", response) if "<" in response else response


def before_echo(response: str) -> str:
    r"""The part before the model repeats the prompt or asks itself another question.

    "The answer is 3.\n\nQuestion: How many ..." is cut before "Question".
    """
    echo = _ECHO.search(response)
    answer = response[: echo.start()] if echo else ""
    return answer if answer.strip() else response


def plain(text: str) -> str:
    r"""`text` in plain spelling: "\dfrac{3\sqrt{5}}{2}" and "$3*\sqrt{5}/2$" are "3√5/2"."""
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def key(text: str) -> str:
    """The comparison key of a plain text: without case, repeated blanks and outer punctuation."""
    return re.sub(r"[\s{}]+", " ", text).strip(" \"'.,;:!?()").casefold()


@lru_cache(maxsize=4096)
def choice_keys(choices: tuple[str, ...]) -> tuple[str, ...]:
    """`key` of the plain text of each choice."""
    return tuple(key(plain(choice)) for choice in choices)
