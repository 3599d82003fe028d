"""MMMU (Yue et al., 2023, arXiv:2311.16502): choice and open questions; MMMU-Pro's choices.

Four sets of rules (`vlmbench.schema.Profile`):

- official: MMMU-Benchmark/MMMU bb0b95a, mmmu/utils/eval_utils.py. It draws a letter at random where
  it finds none; here such an answer has the expected value of the draw and counts as unparsed, so
  that neither order nor shards matter.
- strict: the same without free credit, on the response without outer blanks. An unparsed answer is
  wrong; an option's or a gold answer's text must occur as whole words (`metrics.parse.last_whole`):
  "yes" is not in "yesterday", and an option without words is in nothing.
- lmms: lmms-eval 0.7.3, tasks/mmmu/utils.py. Another choice parser, whose draws are treated as
  above; the harness strips a response before it (api/task.py). Several gold answers of an open
  question are the one text that the hub's row holds, such as "['24/7', '3.429']", so that no answer
  but this text is right.
- vlmevalkit: VLMEvalKit e8e78f0, `mcq_vanilla_eval` without a judge. Choices as for MMBench. An
  open question is rewritten to the options "A", the gold answer, and "B", "Other Answers", of which
  A is right (so is any response "A"), except that a gold answer of one capital is that letter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from vlmbench.metrics.parse import NO_CHOICE, Choice, infer_option, last_place, last_whole
from vlmbench.schema import Json, Profile, Verdict

DOMAINS: Mapping[str, tuple[str, ...]] = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
"""Domain to subjects, both as the official tables name them."""

OUTER_MARKS = ",.!?;:'"

Form = tuple[str, str, str]
"""How a letter may be written, how it is then ranked among several, and the rule's name."""

FORMS: tuple[Form, ...] = (("({})", "({})", "(letter)"), (" {} ", " {} ", "letter"))
LOOSE_FORMS: tuple[Form, ...] = (
    ("({})", "({})", "(letter)"),
    ("{} ", " {} ", "letter"),
    ("{}.", " {} ", "letter."),
)
MIN_WORDS_OF_TEXT = 6
"""A shorter response is not searched for the options' texts."""

KEY_PHRASES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
NO_ANSWERS = ("", *":,.!?;'")

THOUSANDS = re.compile(r"-?(?<!\w)\d{1,3}(?:,\d{3})+(?!\w)")
SCIENTIFIC = re.compile(r"-?(?<!\d)\d++(?:\.\d++)?[eE][+-]?\d++")
PLAIN = re.compile(
    r"-?(?:(?<!\d)\d++\.\d++|\.\d++|(?<!\d)\d++(?!\w))"  # digits possessive: long runs stay linear
    r"(?![eE][+-]?\d|,)"
)


def multiple_choice(
    response: str,
    options: Mapping[str, str],
    answer: str | Sequence[str],
    profile: Profile = "official",
) -> Verdict:
    """Grades `response`: right if it names an option of `answer`, letter(s); `options` in order.

    `parsed` is the letter ("Z" for a refusal under vlmevalkit). `how` is "(letter)", "letter",
    "letter.", "option text", "answer is", "refusal", and for no letter "guess" or "none".

    Raises: ValueError if there are no options or no answer.
    """
    match profile:
        case "official":
            found, draws = _letter(response, options, FORMS), True
        case "strict":
            stripped = {letter: text.strip() for letter, text in options.items()}
            found, draws = _letter(response.strip(), stripped, FORMS, whole_words=True), False
        case "lmms":
            found, draws = _letter(response.strip(), options, LOOSE_FORMS), True
        case "vlmevalkit":
            found, draws = infer_option(response, options), False
        case _:
            assert_never(profile)
    return _choice_verdict(found, options, answer, draws=draws)


def pro_multiple_choice(
    response: str, options: Mapping[str, str], answer: str | Sequence[str]
) -> Verdict:
    """Grades `response` against `answer` by MMMU-Pro's parser.

    Everything else is as in `multiple_choice`, official; `how` may also be "Answer:".

    Source: MMMU-Benchmark/MMMU bb0b95a, mmmu-pro/evaluate.py.
    """
    _, colon, tail = response.rpartition("Answer:")
    named = [letter for letter in options if colon and letter in tail]
    if len(named) == 1:
        found = Choice(named[0], "Answer:")
    else:
        found = _letter(response, options, LOOSE_FORMS)
    return _choice_verdict(found, options, answer, draws=True)


def open_question(
    response: str, answers: str | Sequence[str], profile: Profile = "official"
) -> Verdict:
    """Grades the numbers and texts `response` seems to conclude: right if any is in `answers`.

    `parsed` is the list of these, numbers first, each kind sorted as text; numbers are rounded to
    two decimals, and those that JSON has not are "NaN", "Infinity", "-Infinity". A number is right
    if it equals a gold number, a text if it contains a gold text. `how` is "key phrase" or "whole
    response"; strict calls a blank response unparsed, "none". Under vlmevalkit `parsed` is the
    letter, and `how` a choice's.

    Raises: ValueError if there are no answers.
    """
    golds = _golds(answers)
    match profile:
        case "official" | "strict":
            is_strict = profile == "strict"
            response = response.strip() if is_strict else response
            return _concluded(response, golds, is_strict=is_strict)
        case "lmms":
            return _concluded(response.strip(), (_hub_text(golds),))
        case "vlmevalkit":
            options = {"A": _hub_text(golds), "B": "Other Answers"}
            is_letter = re.fullmatch("[A-Z]", options["A"])
            found = infer_option(response, options)
            return _choice_verdict(found, options, options["A"] if is_letter else "A")
        case _:
            assert_never(profile)


def _concluded(response: str, golds: tuple[str, ...], *, is_strict: bool = False) -> Verdict:
    pieces, how = _pieces(response)
    if is_strict and pieces == [""]:
        return Verdict(value=0.0, parsed=None, how="none")
    candidates = [*pieces, *(number for piece in pieces for number in _numbers(piece))]
    predicted = _normalised(candidates)
    right = any(
        _agree(gold, value, whole_words=is_strict)
        for gold in _normalised(golds)
        for value in predicted
    )
    return Verdict(value=float(right), parsed=_sorted_as_json(predicted), how=how)


def final_answer(
    prediction: str, answer: str | Sequence[str], *, is_multiple_choice: bool
) -> Verdict:
    """The official verdict of a submission's answer: a choice must be the bare letter.

    An open question's answer is parsed as a response is.

    Source: MMMU-Benchmark/MMMU bb0b95a, mmmu/main_eval_only.py.
    """
    if not is_multiple_choice:
        return open_question(prediction, answer)
    value = float(prediction in _golds(answer))
    if not re.fullmatch("[A-Z]", prediction):
        return Verdict(value=value, parsed=None, how="none")
    return Verdict(value=value, parsed=prediction, how="letter")


def _golds(answers: str | Sequence[str]) -> tuple[str, ...]:
    golds = (answers,) if isinstance(answers, str) else tuple(answers)
    if not golds:
        raise ValueError("a question without answers cannot be scored")
    return golds


def _hub_text(golds: tuple[str, ...]) -> str:
    """The gold answers as a row of the hub's data set or of VLMEvalKit's table holds them."""
    return golds[0] if len(golds) == 1 else str(list(golds))


def _choice_verdict(
    found: Choice, options: Mapping[str, str], answer: str | Sequence[str], *, draws: bool = False
) -> Verdict:
    golds = _golds(answer)
    if not options:
        raise ValueError("a choice question without options cannot be scored")
    if found.letter is None and draws:
        value = sum(letter in golds for letter in options) / len(options)
        return Verdict(value=value, parsed=None, how="guess")
    return Verdict(value=float(found.letter in golds), parsed=found.letter, how=found.how)


def _letter(
    response: str,
    options: Mapping[str, str],
    forms: Iterable[Form],
    *,
    whole_words: bool = False,
) -> Choice:
    """The option named last, by the first rule that finds any."""
    for mark in OUTER_MARKS:  # one after the other: "B!." loses both, "B.!" only the last
        response = response.strip(mark)
    response = f" {response} "
    for written, ranked, how in forms:
        named = [letter for letter in options if written.format(letter) in response]
        if named:
            return Choice(max(named, key=lambda x: response.rfind(ranked.format(x))), how)
    if len(response.split()) < MIN_WORDS_OF_TEXT:
        return NO_CHOICE
    lowered = response.lower()
    place = last_whole if whole_words else _last_place
    places = {letter: place(text.lower(), lowered) for letter, text in options.items()}
    last = max(places, key=places.__getitem__, default="")
    return Choice(last, "option text") if places.get(last, -1) >= 0 else NO_CHOICE


def _last_place(part: str, text: str) -> int:
    return last_place(part, text) if part in text else -1


def _pieces(response: str) -> tuple[list[str], str]:
    """The conclusion of each line that has one, else the whole response; and how it was found.

    The official split of sentences looks for a capital after a full stop, in text without capitals.
    """
    response = response.strip().strip(".").lower()
    *lines, last_line = response.split("\n")
    tails = [_shortest_tail(line, KEY_PHRASES) for line in lines]
    tails.append(_shortest_tail(last_line, (*KEY_PHRASES, "=")))
    pieces = [tail for tail in tails if tail not in NO_ANSWERS]
    return (pieces, "key phrase") if pieces else ([response], "whole response")


def _shortest_tail(line: str, phrases: Iterable[str]) -> str:
    shortest = ""
    for phrase in phrases:
        _, found, tail = line.rpartition(phrase)
        tail = tail.strip()
        if found and (not shortest or len(tail) < len(shortest)):  # an empty tail gives way to any
            shortest = tail
    return shortest


def _numbers(piece: str) -> list[str]:
    """The numbers in a piece, three ways: 1,234.5 holds 1,234 and 234.5, and 12.345,6 12 and 6."""
    return [*THOUSANDS.findall(piece), *SCIENTIFIC.findall(piece), *PLAIN.findall(piece)]


def _normalised(texts: Iterable[str]) -> list[float | str]:
    """Each text as a number or in lower case, in order and once.

    A single character becomes two texts, with a space on either side, to match no part of a word.
    """
    values: list[float | str] = []
    for text in map(str.strip, texts):
        try:
            values.append(round(float(text.replace(",", "")), 2))
        except ValueError:
            lowered = text.lower()
            values += [f" {lowered}", f"{lowered} "] if len(lowered) == 1 else [lowered]
    return list(dict.fromkeys(values))


def _agree(gold: float | str, value: float | str, *, whole_words: bool) -> bool:
    if isinstance(gold, float) or isinstance(value, float):
        return gold == value
    return last_whole(gold, value) >= 0 if whole_words else gold in value


def _sorted_as_json(values: Iterable[float | str]) -> Json:
    in_order = sorted(values, key=lambda value: (isinstance(value, str), str(value)))
    return [_json_number(value) if isinstance(value, float) else value for value in in_order]


def _json_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
