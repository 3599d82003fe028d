"""Parsing shared by scorers: the option that a free-text answer names, and whole-word search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Choice(NamedTuple):
    """The option that an answer was read as."""

    letter: str | None
    """An option's letter; "Z": the answer refuses all options; None: no rule applies."""

    how: str
    """The rule that decided, "none" where no rule applies."""


NO_CHOICE = Choice(None, "none")

API_FAILURE = "Failed to obtain answer via API"
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
SPACED_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
LAST_WORDS = 4
"""A letter counts as the answer if its first place is among so many last words."""

WORD = r"[^\W\u3040-\u30ff\u3400-\u9fff]"  # Chinese and Japanese set no space between words
JOINTS = r"[.,:'/-]"
"""Marks that make one word of what stands on both their sides."""

ANSWER_IS = re.compile(r"answer\s+is\s+\**([A-D])", re.IGNORECASE)
ANSWER_IS_CAPITAL = re.compile(r"(?i:answer\s+is)\s+\**([A-D])(?!" + WORD + ")")


def infer_option(response: str, options: Mapping[str, str], *, strict: bool = False) -> Choice:
    """Which of `options` (letter to text) `response` names, without a judge.

    In this order: a refusal is "Z"; the only option letter among the words, if it first stands near
    the end; the letter after the first "answer is"; the only option whose text occurs, provided the
    response is at most twice as long as all options together. "a dog" after "answer is" is the
    letter A, the first letter of "bird" is B, and "catfish" names the option "cat". With `strict`
    they do not: that letter must be a capital that stands alone, and an option's text whole words.

    Source: VLMEvalKit, vlmeval/utils/matching_util.py, `can_infer`, as of June 2026.
    """
    return _option_letter(response, options, strict) or _option_text(response, options, strict)


def last_whole(words: str, text: str) -> int:
    """The index of the last place where `words` occurs in `text` as whole words; -1 if nowhere.

    "yes" stands in "(yes), it is", but neither in "yesterday" nor in "yes/no"; "5 m" in "$5 m$",
    but neither in "5 mm" nor in "0.5 m" nor in "-5 m".
    """
    core = words.strip()
    if not core or words not in text:
        return -1
    unsigned = "(?<![.-])" if core[0].isdecimal() else ""
    before, after = rf"(?<!{WORD})(?<!{WORD}{JOINTS})", rf"(?!{WORD}|%|{JOINTS}{WORD})"
    if len(core) * len(text) <= LARGE:
        found = re.finditer(before + unsigned + re.escape(core) + after, text)
        return max((match.start() for match in found), default=-1)
    begins, ends = re.compile(before + unsigned), re.compile(after)
    last, free = -1, 0
    for start in places(core, text):
        end = start + len(core)
        if start >= free and begins.match(text, start) and ends.match(text, end):
            last, free = start, end
    return last


LARGE = 10**7
"""Length of a pattern times length of the text, above which a search must be linear."""


def last_place(part: str, text: str) -> int:
    """As `text.rfind(part)`, in linear time: Python's own is only for `in` and `find`."""
    if len(part) * len(text) <= LARGE:
        return text.rfind(part)
    place = text[::-1].find(part[::-1])
    return place if place < 0 else len(text) - place - len(part)


def places(part: str, text: str) -> Iterator[int]:
    """All places of a part that is not empty, overlapping ones too, in linear time.

    Source: Knuth, Morris and Pratt, 1977, "Fast pattern matching in strings".
    """
    borders, length = [0], 0
    for character in part[1:]:
        while length and character != part[length]:
            length = borders[length - 1]
        length += character == part[length]
        borders.append(length)
    length = 0
    for index, character in enumerate(text):
        while length and (length == len(part) or character != part[length]):
            length = borders[length - 1]
        length += character == part[length]
        if length == len(part):
            yield index + 1 - length


def _option_letter(response: str, options: Mapping[str, str], strict: bool) -> Choice | None:
    if API_FAILURE in response:
        return None
    if any(refusal in response for refusal in REFUSALS):
        return Choice("Z", "refusal")
    words = response.translate(SPACED_MARKS).split()
    named = [letter for letter in options if letter in words]
    if len(named) == 1 and words.index(named[0]) >= len(words) - LAST_WORDS:
        return Choice(named[0], "letter")
    if not named and "Z" in words:
        return Choice("Z", "refusal")
    after = (ANSWER_IS_CAPITAL if strict else ANSWER_IS).search(response)
    if after and after[1].upper() in options:
        return Choice(after[1].upper(), "answer is")
    return None


def _option_text(response: str, options: Mapping[str, str], strict: bool) -> Choice:
    lowered = response.lower()
    if len(lowered) > 2 * sum(map(len, options.values())):
        return NO_CHOICE
    texts = {letter: text.lower() for letter, text in options.items()}
    if strict:
        named = [letter for letter, text in texts.items() if last_whole(text, lowered) >= 0]
    else:
        named = [letter for letter, text in texts.items() if text in lowered]
    return Choice(named[0], "option text") if len(named) == 1 else NO_CHOICE
