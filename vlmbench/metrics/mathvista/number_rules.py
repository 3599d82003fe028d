"""Rules that find the number or list a response answers with; the strongest evidence first."""

from __future__ import annotations

import re

from vlmbench.metrics.mathvista.notation import plain
from vlmbench.metrics.mathvista.program import printed
from vlmbench.metrics.mathvista.quantities import quantities, root, subject
from vlmbench.metrics.mathvista.reading import Reading

_ANSWER_IS = re.compile(
    r"^\W*(?:the |my )?final (?:value|result|number|count)(?::|=|\n)"
    r"|\bfinal (?:value|result|number|count) (?:is|would be)\b"
    r"|\banswer(?: (?:to|for|of) [^.:\n]{1,80}?)?(?: (?:is|would be|should be|will be)\b|:|=|\n)"
    r"|答案(?:是|为)?:?|^####",
    re.IGNORECASE | re.MULTILINE,
)
_MAX_ANSWERS = 50
_MAX_TAIL = 200
_CONCLUDES = re.compile(
    r"\W*(?:(?:therefore|thus|so|hence|in conclusion|in total|finally|as a result)\b"
    r"|所以|因此|∴|故)",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")
_BLANK = re.compile(r"([^.?!()]{0,60})\(_\)([^.?!()]{0,40})")
_NONE = re.compile(r"\b(?:is|are|were|was|has|have|there) (?:no|none)\b|^\W*none\b", re.IGNORECASE)
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_WORD = re.compile(r"[^\W\d_]{3}")
_ITEM = re.compile(r"(?<!\d)-?\d+(?:\.\d+)?")
_RUN = re.compile(rf"{_ITEM.pattern}(?:, ?(?:and )?{_ITEM.pattern})+")


def list_items(reading: Reading) -> str | None:
    """The last bracketed or comma-separated list, or the last two numbers: "2007 and 2008"."""
    if reading.problem.answer_type != "list":
        return None
    text = reading.boxed or reading.text
    lists = _BRACKETS.findall(text) or _RUN.findall(text)
    items = _ITEM.findall(lists[-1]) if lists else _ITEM.findall(text)[-2:]
    return f"[{', '.join(items)}]" if items else None


def program_output(reading: Reading) -> str | None:
    r"""What the response prints, where it is a program: "x = 3\nprint(x * 2)"."""
    output = printed(reading.said)
    return output and (subject(output, reading.problem.question) or output)


def boxed_number(reading: Reading) -> str | None:
    r"""The number in the last box, also as a root: "$x = \boxed{5}$ cm", "\boxed{\sqrt{16}}"."""
    found = quantities(reading.boxed)
    return found[-1].text if found else root(reading.boxed)


def opening(reading: Reading) -> str | None:
    r"""A number alone in the first of several lines: "14 cm\nOf the 20 cm 6 are removed."."""
    first, _, rest = reading.text.partition("\n")
    found = quantities(first) if rest and not _WORD.search(first) else []
    return found[0].text if len(found) == 1 else None


def closing(reading: Reading) -> str | None:
    r"""A number alone in the last of several lines: "The number of bars is:\n\n0"."""
    before, _, last = reading.text.rpartition("\n")
    found = quantities(last) if before and not _WORD.search(last) else []
    return found[0].text if len(found) == 1 and found[0].start <= 2 else None


def answer_number(reading: Reading) -> str | None:
    """What the last "answer is" or "answer:" is followed by: "The answer is 5 years."."""
    for cue in reversed(list(_ANSWER_IS.finditer(reading.text))[-_MAX_ANSWERS:]):
        tail = reading.text[cue.end() : cue.end() + _MAX_TAIL].lstrip(" :\n")
        sentence = re.split(r"(?<=[.。])\s|\n", tail)[0]
        found = quantities(sentence)
        if found and found[0].start == 0 and not found[0].is_word and "=" not in sentence:
            return found[0].text
        if found:
            return subject(sentence, reading.problem.question)
    return None


def refusal(reading: Reading) -> str | None:
    """The model does not know, so no number in it counts: "I cannot tell the two ages."."""
    return "N/A" if reading.refuses(last=3) else None


def filled_blank(reading: Reading) -> str | None:
    """Text of the response where the question has a blank: "about (_) inches long"."""
    blank = _BLANK.search(reading.problem.question)
    if not blank:
        return None
    before, after = blank[1].lower().split()[-1:], blank[2].lower().split()[:1]
    text = reading.text.lower()
    found = None
    for number in quantities(text):
        fits_before = not before or text.endswith(f"{before[0]} ", 0, number.start)
        fits_after = not after or text.startswith((f" {after[0]}", f"-{after[0]}"), number.end)
        if fits_before and fits_after:
            found = number.text
    return found


def bold_number(reading: Reading) -> str | None:
    """The first number in bold, or the one in a concluding sentence: "There are **3** bars."."""
    first = None
    for line in reading.said.split("\n"):
        for part in _BOLD.findall(line):
            for number in quantities(plain(part)):
                first = first or number.text
                if concludes(line):
                    return number.text
    return first


def conclusion(reading: Reading) -> str | None:
    """The last "Therefore, ..." sentence with a number: "So there are 12 - 4 = 8 rolls left."."""
    for sentence in reversed(reading.sentences):
        if concludes(sentence):
            found = subject(sentence, reading.problem.question)
            if found is not None:
                return found
    return None


def last_number(reading: Reading) -> str | None:
    """The last sentence with a number: "The total volume is 1,000 g. Ask me more!"."""
    for sentence in reversed(reading.sentences):
        if re.search(r"[^\W\d_]", sentence):
            found = subject(sentence, reading.problem.question)
            if found is not None:
                return found
    return subject(reading.text, reading.problem.question)


def whole_root(reading: Reading) -> str | None:
    r"""A response that is a root: "$\sqrt{16}$"."""
    return root(reading.text)


def none_at_all(reading: Reading) -> str | None:
    """A count of nothing, in words: "There are no bars with such a value."."""
    return "0" if _NONE.search(reading.text) else None


def concludes(sentence: str) -> bool:
    """Tests for a leading "therefore", "so" or the like."""
    return bool(_CONCLUDES.match(sentence))


RULES = (
    program_output,
    list_items,
    boxed_number,
    opening,
    answer_number,
    closing,
    refusal,
    filled_blank,
    bold_number,
    conclusion,
    last_number,
    whole_root,
    none_at_all,
)
