"""VQA accuracy: an answer scores by how many annotators gave it.

VQAv2 and TextVQA share that rule (`vqa_accuracy`) and differ in when two answers are the same: each
evaluator rewrites both sides in its own way before it compares them for equality.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import assert_never

from vlmbench.schema import Profile, Verdict

VQAV2_PROFILES: tuple[Profile, ...] = ("official", "strict", "lmms")
"""All but `vlmevalkit`: VLMEvalKit does not score VQAv2."""


def vqav2(response: str, answers: Sequence[str], profile: Profile = "official") -> Verdict:
    """Score a VQAv2 answer against its annotators' answers.

    - official: where all annotators wrote the same string, the response must be that string,
      letter case and punctuation included; elsewhere both are compared as `vqav2_normalized`.
    - strict: as official, but a blank response is unparsed, and one that normalises to nothing
      ("a", "the") matches only annotators who wrote the same, not all who normalise to nothing.
    - lmms: always normalised, also where the annotators agree. Digits are Unicode's, not only
      ASCII's, and a run of commas between two digits counts as one ("1,,2").

    Raises:
        ValueError: `answers` is empty, or the profile is vlmevalkit, which has no VQAv2.

    Source: GT-Vision-Lab/VQA, vqaEval.py, under its Python 2; lmms-eval 0.7.3, tasks/vqav2.
    """
    _check(answers, "VQAv2")
    match profile:
        case "lmms":
            golds = [_lmms_vqav2_gold(answer) for answer in answers]
            return _verdict(_lmms_vqav2_normalized(response), golds, "normalised")
        case "vlmevalkit":
            raise ValueError("VQAv2 has no profile 'vlmevalkit': VLMEvalKit does not score it")
        case "official" | "strict":
            return _vqav2(response, answers, is_strict=profile == "strict")
        case _:
            assert_never(profile)


def _vqav2(response: str, answers: Sequence[str], *, is_strict: bool) -> Verdict:
    lines = {_one_line(answer) for answer in set(answers)}
    if len(lines) == 1:
        golds = [*lines] * len(answers)
        return _verdict(_one_line(response), golds, "unanimous", is_strict=is_strict)
    prediction = vqav2_normalized(response)
    if is_strict and not prediction:
        return _literal(response, answers)
    return _verdict(prediction, [_vqav2_gold(answer) for answer in answers], "normalised")


def textvqa(response: str, answers: Sequence[str], profile: Profile = "official") -> Verdict:
    """Score a TextVQA answer against its annotators' answers, both always normalised.

    - official: `textvqa_normalized`. The evaluator insists on ten annotators; another number is
      scored here by the same rule.
    - strict: as official, but for a response that normalises to nothing, as in `vqav2`.
    - lmms: the same verdicts as official.
    - vlmevalkit: VQAv2's normalisation, so commas, question marks and possessives are not taken out
      first, and a period stays that has a digit on either side ("10." is not "10").

    Raises:
        ValueError: `answers` is empty.

    Source: facebookresearch/mmf, m4c_evaluators.py; lmms-eval 0.7.3, tasks/textvqa; VLMEvalKit
    e8e78f0, vqa_eval.py and smp/misc.py.
    """
    _check(answers, "TextVQA")
    match profile:
        case "vlmevalkit":
            golds = [_vlmevalkit_gold(answer) for answer in answers]
            return _verdict(_vlmevalkit_normalized(response), golds, "normalised")
        case "official" | "lmms" | "strict":
            prediction = textvqa_normalized(response)
            if profile == "strict" and not prediction:
                return _literal(response, answers)
            return _verdict(prediction, [_textvqa_gold(answer) for answer in answers], "normalised")
        case _:
            assert_never(profile)


def vqa_accuracy(num_matches: int, num_answers: int) -> float:
    """Credit, in [0, 1], for an answer that `num_matches` of `num_answers` annotators gave.

    The mean over annotators, each left out in turn, of min(1, matches among the others / 3): with
    ten annotators 0, 0.3, 0.6, 0.9 and, from four matches on, 1. It takes four matches to be worth
    1, so with three annotators or fewer nothing is, and a lone annotator's answer is worth 0.

    Raises:
        ValueError: not 0 <= num_matches <= num_answers, or no answers.

    Source: Antol et al., 2015 (arXiv:1505.00468), as averaged by the evaluators.
    """
    if not 0 <= num_matches <= num_answers or num_answers == 0:
        raise ValueError(f"num_matches ({num_matches}) of num_answers ({num_answers})")
    left_out_matched = num_matches * min(3, num_matches - 1)
    left_out_others = (num_answers - num_matches) * min(3, num_matches)
    return (left_out_matched + left_out_others) / (3 * num_answers)


def vqav2_normalized(text: str) -> str:
    """`text` as VQAv2's evaluator compares it where annotators differ: "Two dogs." is "2 dogs".

    Punctuation goes, numbers up to ten become digits, articles are dropped, and words that lack an
    apostrophe get it. Follows Python 2: digits are ASCII, a letter's lower case is one letter.
    """
    line = _one_line(text)
    if not line.isascii():
        line = line.translate(PYTHON_2_LOWER_CASE)
    return _words(_unpunctuated(line, ASCII_THOUSANDS, ASCII_PERIOD))


def textvqa_normalized(text: str) -> str:
    """`text` as TextVQA's evaluator compares it: "The dog's, 10." is "dog 's 10".

    Before VQAv2's steps, commas and question marks are deleted and a possessive is parted from its
    word.
    """
    parted = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _words(_unpunctuated(_one_line(parted), THOUSANDS, PERIOD))


def _lmms_vqav2_normalized(text: str) -> str:
    return _words(_unpunctuated(_one_line(text), THOUSANDS, PERIOD))


def _vlmevalkit_normalized(text: str) -> str:
    return _words(_unpunctuated(_one_line(text), SINGLE_COMMA_THOUSANDS, PERIOD_BESIDE_NO_DIGIT))


CACHED_ANSWERS = 1 << 16
"""Annotators write few distinct answers, so these repeat; a model's responses may be long."""

_vqav2_gold = lru_cache(CACHED_ANSWERS)(vqav2_normalized)
_textvqa_gold = lru_cache(CACHED_ANSWERS)(textvqa_normalized)
_lmms_vqav2_gold = lru_cache(CACHED_ANSWERS)(_lmms_vqav2_normalized)
_vlmevalkit_gold = lru_cache(CACHED_ANSWERS)(_vlmevalkit_normalized)

MARKS = frozenset(';/[]"{}()=+\\_-><@`,?!')
"""Apostrophe, colon, currency, percent and typographic marks stay; periods have their own rule."""

ASCII_THOUSANDS = re.compile(r"[0-9],[0-9]")
THOUSANDS = re.compile(r"\d,+\d")
SINGLE_COMMA_THOUSANDS = re.compile(r"\d,\d")

# The evaluators mean to spare the period of a decimal, but "(?!<=\d)" is no look-behind and spares
# nothing, so only what follows the period matters. VLMEvalKit has mended it.
ASCII_PERIOD = re.compile(r"\.(?![0-9])")
PERIOD = re.compile(r"\.(?!\d)")
PERIOD_BESIDE_NO_DIGIT = re.compile(r"(?<!\d)\.(?!\d)")

MAX_PERIODS = 32
"""They pass re.UNICODE, which is 32, where `sub` takes the number of replacements."""

PYTHON_2_LOWER_CASE = str.maketrans("\u0130\u03a3", "i\u03c3")
"""Dotted capital I and capital sigma, which Python 3 lowers to two letters or by context."""

ARTICLES = frozenset(("a", "an", "the"))

NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip

CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't
    mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll
    you're you've
"""
"""The words that the evaluators restore where any one apostrophe is missing. Theirs with a capital
(I'm, I've, I'd've) never apply, as all is lower case by then."""

CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in CONTRACTED.split()
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}  # sic, the other way round

REWRITTEN = NUMBERS | CONTRACTIONS


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _unpunctuated(line: str, thousands: re.Pattern[str], period: re.Pattern[str]) -> str:
    """A mark with a space beside it anywhere in `line` is deleted; others become spaces.

    With a comma between digits anywhere, all marks are deleted.
    """
    marks = MARKS.intersection(line)
    if marks:
        glued = "," in marks and thousands.search(line) is not None
        spaced = {mark for mark in marks if f"{mark} " in line or f" {mark}" in line}
        deleted = marks if glued else spaced
        line = line.translate({ord(mark): "" if mark in deleted else " " for mark in marks})
    return period.sub("", line, count=MAX_PERIODS) if "." in line else line


def _words(text: str) -> str:
    words = text.lower().split()
    return " ".join([REWRITTEN.get(word, word) for word in words if word not in ARTICLES])


def _verdict(prediction: str, golds: list[str], how: str, *, is_strict: bool = False) -> Verdict:
    if is_strict and not prediction:
        return Verdict(value=0.0, parsed=None, how="empty")
    value = vqa_accuracy(golds.count(prediction), len(golds))
    return Verdict(value=value, parsed=prediction, how=how)


def _literal(response: str, answers: Sequence[str]) -> Verdict:
    """A response that normalises to nothing, compared as it was written but for letter case."""
    golds = [_one_line(answer).lower() for answer in answers]
    return _verdict(_one_line(response).lower(), golds, "literal", is_strict=True)


def _check(answers: Sequence[str], task: str) -> None:
    if not answers:
        raise ValueError(f"answers is empty: a {task} response cannot be scored without annotators")
