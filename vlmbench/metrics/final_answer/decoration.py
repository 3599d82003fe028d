"""Markup around a text: bold, quotes, code, LaTeX, brackets."""

from __future__ import annotations

import re

_PAIRS = (
    *(("**", "**"), ("__", "__"), ("*", "*"), ("```", "```"), ("``", "``"), ("`", "`")),
    *(('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u300c", "\u300d")),
    *(("\u300e", "\u300f"), ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")),
    *(("<b>", "</b>"), ("<strong>", "</strong>"), ("<p>", "</p>"), ("<i>", "</i>")),
)
_OPENINGS = frozenset("".join(opening[0] for opening, _ in _PAIRS) + "#>")
_COMMAND = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf)?|math(?:rm|bf|it|sf|tt)|boldsymbol|mbox|fbox|boxed) ?\{"
)
_HEADING = re.compile(r"\A#{1,6}[ \t]+(?=\S)")
_QUOTE = re.compile(r"\A>[ \t]+(?=\S)")
_FENCE = re.compile(r"\A```[\w+-]{0,20}[ \t]*\n(.*?)\n?```\Z", re.DOTALL)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_MAX_LAYERS = 20
MAX_MATHS = 200
"""A longer text between dollar signs is prose with two amounts of money."""


def bare(text: str) -> str:
    r"""The text without the markup that encloses all of it: `**"B"**` and `$\text{B}$` are B."""
    text = text.strip()
    if text[:1] not in _OPENINGS:
        return text
    for _ in range(_MAX_LAYERS):
        inner = _unwrapped(text).strip()
        if inner == text or not inner:
            return text
        text = inner
    return text


def _unwrapped(text: str) -> str:
    fence = _FENCE.match(text)
    if fence and "```" not in fence[1]:
        return fence[1]
    if "\n" not in text:
        text = _QUOTE.sub("", _HEADING.sub("", text, count=1), count=1)
    for opening, closing in _PAIRS:
        inner = text[len(opening) : len(text) - len(closing)]
        if (
            len(text) > len(opening) + len(closing)
            and text.startswith(opening)
            and text.endswith(closing)
            and opening not in inner
            and closing not in inner
            and not (opening.startswith(("$", "\\")) and len(inner) > MAX_MATHS)
        ):
            return inner
    command = _COMMAND.match(text)
    if command:
        content = braced(text, command.end())
        if content is not None and command.end() + len(content) + 1 == len(text):
            return content
    return text


def braced(text: str, start: int, longest: int = 2000) -> str | None:
    """What stands from `start` to the brace that closes the one before; None: none does."""
    depth = 1
    for mark in _BRACES.finditer(text, start, start + longest):
        depth += (mark[0] == "{") - (mark[0] == "}")
        if not depth:
            return text[start : mark.start()]
    return None
