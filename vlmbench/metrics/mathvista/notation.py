"""Normalisation of LaTeX, Markdown and Unicode in responses and choices to plain text."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_MARKS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u2032", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
        **dict.fromkeys("\u00d7\u22c5\u00b7", "*"),
        "\u2044": "/",
    }
)
_MIXED_SIGN = re.compile(r"(?<![\d.,])([0-9]{1,6}) ?([\u00bc-\u00be\u2150-\u215e])")
_MIXED = re.compile(
    r"(?<![\w.,/}])(?P<whole>[0-9]{1,6}) ?\\[dt]?frac ?\{? ?(?P<above>[0-9]{1,4}) ?\}? ?"
    r"(?:(?<=\}) ?|(?<=[0-9])(?=\{))\{? ?(?P<below>[0-9]{1,4}) ?\}?"
)
_ROOT = re.compile(r"\\sqrt ?\[ ?([2-9]) ?\] ?\{ ?([0-9]{1,12}(?:\.[0-9]{1,12})?) ?\}")
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
        (r"(?<=\d)(?:\{,\}|\\[,;:!]|\{\\[,;:!]\}|~)(?=\d{3}(?!\d))", ","),
        (r"\\[dt]frac(?![a-z])", r"\\frac"),
        (r"\\frac ?(\d) ?(\d)(?!\d)", r"\\frac{\1}{\2}"),
        (r"\\frac ?(\d) ?\{", r"\\frac{\1}{"),
        (r"\\frac ?\{([^{}]{1,30})\} ?(\d)", r"\\frac{\1}{\2}"),
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


def _mixed_sign(match: re.Match[str]) -> str:
    return str(int(match[1]) + unicodedata.numeric(match[2]))


def _mixed(match: re.Match[str]) -> str:
    whole, above, below = (int(match[group]) for group in ("whole", "above", "below"))
    return str(whole + above / below) if 0 < above < below else match[0]


def _root(match: re.Match[str]) -> str:
    """A root other than the square one of a number, as a number."""
    value = float(match[2]) ** (1 / int(match[1]))
    return str(round(value)) if abs(value - round(value)) < 1e-9 else f"{value:.10g}"


def plain(text: str) -> str:
    r"""`text` in plain spelling: "\dfrac{3\sqrt{5}}{2}" and "$3*\sqrt{5}/2$" are "3√5/2"."""
    text = _MIXED_SIGN.sub(_mixed_sign, text)
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)
    text = _MIXED.sub(_mixed, text) if "frac" in text else text
    text = _ROOT.sub(_root, text) if "sqrt" in text else text
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
