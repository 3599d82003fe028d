"""The letter of the option that a response names, in the forms and languages that models write.

Only what names a letter as the answer is read; a letter that is weighed in running text is not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache

from vlmbench.metrics.final_answer.decoration import bare

LETTER, OPTION_TEXT = "letter", "option text"

_PREFIX = (
    r"(?:(?:the |my )?(?:correct |final |best |right )*(?:option|choice|answer|letter|ans)s?\b"
    r"|我?(?:选择|選擇|选项|選項|答案|选|選)|答え|正解|정답)?\s*(?:(?:is|are)\b|是|为|為|は|은)?\s*[:.]?\s*"
)
_OPEN, _CLOSE = r"[\[({<\u3010\"'*_]*\s?", r"\s?[\])}>\u3011\"'*_]*"
_WHOLE = re.compile(
    rf"{_PREFIX}{_OPEN}(?P<letter>[A-Za-z]){_CLOSE}[.,:;!)\u3002\u3001]*"
    r"(?:项|項|选项|選項|です|입니다)?[.\u3002]?",
    re.IGNORECASE,
)
_MORE = r"(?!\s*(?:,|\u3001|/|&|\b(?:and|or)\b|和|或|与)\s*[\[(]?[A-Z](?![A-Za-z0-9_'\u2019]))"
_VERBS = (
    r"(?!\s*(?:and|are|can|can't|cannot|could|does|doesn't|has|have|is|isn't|looks|may|might|or"
    r"|seems|shows|was|will|would|vs)\b)"
)
_TAKEN_BACK = r"(?!\s*(?:\.\.|\u2026|,\s*(?:no|wait|not|actually)\b))"
_LEADING = re.compile(
    rf"{_PREFIX}(?:"
    rf"\*{{0,2}}[\[(\u3010]\s?(?P<round>[A-Za-z])\s?[\])\u3011]{_VERBS}{_MORE}{_TAKEN_BACK}"
    rf"|\*{{0,2}}(?P<capital>[A-Z])(?:\*\*)?{_MORE}{_TAKEN_BACK}(?=\s*[,:;)\u3002\u3001]|\s*\.(?![A-Za-z]\.)"
    r"|\s+[-\u2013\u2014]\s|\s*\n|\s*\(|\s+(?:because|since)\b|\s*\Z)"
    r"|\*{0,2}(?P<small>[a-z])(?=\)|[.:]\s))"
)
_LETTER = (
    r"(?:[\[(\u3010]\s?(?P<round>[A-Za-z])\s?[\])\u3011]"
    r"|\*{0,2}(?P<capital>[B-HJ-Z]|[AI](?!\*{0,2} [a-z]))(?![A-Za-z0-9_'\u2019-]))"
)
_AFTER_CUE = re.compile(
    rf"{_PREFIX}(?:{_LETTER}{_MORE}|\*{{0,2}}(?P<small>[a-z])\*{{0,2}}(?=[.!]?\s*\Z))"
)
_CHOOSES = re.compile(
    r"(?:\b(?:choose|chose|select(?:ed)?|pick(?:ed)?|go(?:ing)? with|opt for)\s+"
    r"|(?:选择|選擇|应选|應選|故选|故選|选|選)\s*)"
    r"(?:(?:the )?(?:option|choice|answer|letter)s?\b|选项|選項|答案)?\s*(?:是|为|為|:)?\s*"
    rf"{_LETTER}{_MORE}",
    re.IGNORECASE,
)
_IS_RIGHT = re.compile(
    rf"(?<![A-Za-z0-9_'\u2019-]){_LETTER}\**\s*"
    r"(?:(?:is|would be|should be)\s+(?:the\s+)?(?:most\s+)?"
    r"(?:correct|right|best|likely|accurate|appropriate|answer)\b|(?:项|項)?(?:是)?(?:正确|正確))",
)
_DENIED = re.compile(
    r"(?:\bnot|n't|\bnever|\bwhether|\bif|不|\bneither)\s*(?:to )?\Z", re.IGNORECASE
)
_ENUMERATED = re.compile(r"^[ \t*]*\(?([A-Z])[.):]", re.MULTILINE)
_COMMANDS = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it)|mbox) ?\{([^{}]*)\}")
_MAX_STATEMENTS = 50


def read(text: str, stated: str, options: Mapping[str, str]) -> tuple[str | None, str]:
    """The letter that a response names, and how; None: it names none, or several at once.

    `stated`: what the response marks as its answer, empty where it marks nothing.
    """
    for how, letter in _readings(_plain(text), _plain(stated), options):
        if letter:
            return letter, how
    return None, ""


def leading(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that a response begins with, before a text of its own: "C. A is too small."."""
    text = _plain(text)
    return None if _goes_through(text) else _leading(text, options)


def _goes_through(text: str) -> bool:
    """True if several lines begin with letters: they are the options, one by one."""
    return len(set(_ENUMERATED.findall(text))) > 1


def _readings(
    text: str, stated: str, options: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    if stated:
        yield LETTER, _matched(_WHOLE.fullmatch(stated), options)
        yield OPTION_TEXT, _same_text(stated, options)
        yield LETTER, _leading(stated, options)
        yield LETTER, _matched(_AFTER_CUE.match(stated), options)
    yield LETTER, _matched(_WHOLE.fullmatch(text), options)
    yield OPTION_TEXT, _same_text(text, options)
    yield LETTER, None if _goes_through(text) else _leading(text, options)
    yield LETTER, _last_statement(text, options)
    lines = [line for line in text.split("\n") if line.strip()]
    yield LETTER, _matched(_WHOLE.fullmatch(bare(lines[-1]) if lines else ""), options)


def _plain(text: str) -> str:
    """Full-width letters and marks as ASCII's, without the markup around all of it."""
    text = unicodedata.normalize("NFKC", bare(text))
    return bare(_COMMANDS.sub(r"\1", text) if "\\" in text else text)


def _matched(match: re.Match[str] | None, options: Mapping[str, str]) -> str | None:
    if match is None:
        return None
    letter = next(group for group in match.groups() if group).upper()
    return letter if letter in options else None


def _leading(text: str, options: Mapping[str, str]) -> str | None:
    """The letter before a text; none where the text is another option's."""
    match = _LEADING.match(text)
    letter = _matched(match, options)
    if match is None or letter is None:
        return None
    said = _same_text(text[match.end() :].lstrip(" .,:;)-"), options)
    return letter if said in (None, letter) else None


def _same_text(text: str, options: Mapping[str, str]) -> str | None:
    """The only option with this text, letter case and outer marks set aside."""
    key = _key(text)
    same = [letter for letter, option in options.items() if key and _option_key(option) == key]
    return same[0] if len(same) == 1 else None


@lru_cache(maxsize=4096)
def _option_key(option: str) -> str:
    return _key(_plain(option))


def _key(text: str) -> str:
    return " ".join(text.split()).strip(" .,:;!\u3002\"'").casefold()


def _last_statement(text: str, options: Mapping[str, str]) -> str | None:
    matches = [*_CHOOSES.finditer(text)][-_MAX_STATEMENTS:]
    matches += [*_IS_RIGHT.finditer(text)][-_MAX_STATEMENTS:]
    for match in sorted(matches, key=re.Match.start, reverse=True):
        if not _DENIED.search(text, max(0, match.start() - 20), match.start()):
            letter = _matched(match, options)
            if letter:
                return letter
    return None
