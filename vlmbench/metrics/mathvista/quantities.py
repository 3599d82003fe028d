"""Numbers in running text, and the number that a sentence states."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vlmbench.metrics.mathvista.notation import plain
from vlmbench.metrics.parse import WORD

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WORDS = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=3)
}

_OTHER_LETTERS = {0x131: "i", 0x307: None, 0x17F: "s"}
"""What matches i and s without regard to case and is neither: dotless i, its dot, the long s."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_NUMBER = re.compile(
    rf"(?<![.√^])(?<!{WORD})(?P<sign>(?<![\w)\]])-|(?:negative|minus) )?\$?"
    rf"(?P<digits>{_DIGITS}(?:[eE][-+]?\d+)?)(?!\d| ?[√π])"
    r"(?: ?[x*] ?10 ?(?:\^|\*\*) ?\{? ?(?P<exponent>-?\d{1,3}) ?\}?"
    rf"|(?P<second>(?: ?[°%])? ?(?:[/:-]|to) ?\$?{_DIGITS}))?"
    rf"|\b(?P<word>{'|'.join(sorted(WORDS, key=len, reverse=True))})\b(?! (?:of|another|or)\b)",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(-?\d+(?:\.\d+)?) ?/ ?(\d+(?:\.\d+)?)")
_ROOT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)?\*?√ ?([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_MAX_SENTENCE = 1000
_SAYS = re.compile(
    r"\b(?:is|are|was|were|be|equals?|ha[sd]|have|there|approximately|about|around|needs?|costs?"
    r"|gives?|get|makes?|means|total of|results? in)\b|[=≈]"
)
_STATES = re.compile(r"\b(?:is|are|was|were|equals?)\b")
_GIVEN_VALUE = re.compile(r"\b(?:at|when|if|where|for|with)\b[^=]*=[^=]*\Z", re.IGNORECASE)
_ASKS_FOR_YEAR = re.compile(r"\b(?:which|what) year\b|^\W*when\b", re.IGNORECASE)
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number where it stands in a text."""

    start: int
    end: int
    text: str
    """Number as Python writes it, "1e-3"; ratio, fraction or range as written, "2:3"."""

    is_word: bool


def quantities(text: str) -> list[Quantity]:
    """All numbers of a plain text: "$1,234.50", "-3", "1.2 * 10^-5", "3/4", "2 to 5", "twelve"."""
    return [_quantity(match) for match in _NUMBER.finditer(text)]


def subject(sentence: str, question: str) -> str | None:
    """The number that a sentence states: "At x = 2 the value of y is -3." -> "-3".

    The first one after the last equals sign, or after the last "is" or "equals" that comes later;
    else, of the numbers that the question does not hold itself, the first one after the last "is",
    "are", "has", "about", ...; without such a word, the last one.
    """
    sentence = sentence[-_MAX_SENTENCE:]
    found = quantities(sentence)
    if not found:
        return None
    equals = sentence.rfind("=")
    if 0 <= equals < found[-1].start and not _GIVEN_VALUE.search(sentence):
        given, *later = [number for number in found if number.start > equals]
        says = [match.end() for match in _STATES.finditer(sentence, given.end)]
        stated = [number for number in later if says and number.start >= says[-1]]
        return (stated or [given])[0].text
    found = _asked_for(found, question)
    for word in reversed(list(_SAYS.finditer(sentence))):
        after = [number for number in found if number.start >= word.end()]
        if after:
            return after[0].text
    return found[-1].text


def decimal(text: str) -> str:
    """A fraction as a decimal number, "1/2" as "0.5"; anything else as it is."""
    fraction = _FRACTION.fullmatch(text)
    if not fraction or not float(fraction[2]):
        return text
    return str(float(fraction[1]) / float(fraction[2]))


def root(text: str) -> str | None:
    """The value of a plain text that is a square root and a factor: "2√16" -> "8"."""
    found = _ROOT.fullmatch(text.strip(" ."))
    if not found:
        return None
    value = float(found[1] or 1) * float(found[2]) ** 0.5
    return str(round(value)) if value == round(value) else str(value)


def _asked_for(found: list[Quantity], question: str) -> list[Quantity]:
    """Drop what cannot be meant, unless nothing is left."""
    known = {number.text for number in quantities(plain(question))}
    found = [number for number in found if number.text not in known] or found
    if _ASKS_FOR_YEAR.search(question):
        return [number for number in found if _YEAR.fullmatch(number.text)] or found
    return [number for number in found if not number.is_word] or found


def _quantity(match: re.Match[str]) -> Quantity:
    if match["word"]:
        text = str(WORDS[match["word"].lower().translate(_OTHER_LETTERS)])
    else:
        text = ("-" if match["sign"] else "") + match["digits"].replace(",", "")
        if match["exponent"]:
            text += "e" + match["exponent"]
        text += match["second"] or ""
    return Quantity(match.start(), match.end(), text, bool(match["word"]))
