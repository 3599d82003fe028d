"""Verdicts on answers: by MathVista's rules, stricter ones and those of two harnesses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple, assert_never

from rapidfuzz.distance import Levenshtein

from vlmbench.metrics.mathvista.extraction import NOTHING, extract
from vlmbench.metrics.mathvista.notation import plain
from vlmbench.metrics.mathvista.options import named
from vlmbench.metrics.mathvista.problem import Problem
from vlmbench.metrics.parse import NO_CHOICE, Choice, infer_option
from vlmbench.schema import Json, Profile, Verdict

NEAREST = "nearest option"
_ROUND_LETTER = re.compile(r"\(([a-zA-Z])\)")


class _Outcome(NamedTuple):
    prediction: str | None
    is_right: bool
    how: str


def verdict(response: str, problem: Problem, profile: Profile = "official") -> Verdict:
    """The verdict on what `extract` finds in the response; `how` is the rule that found it.

    The harnesses' own first steps are kept: lmms strips the response, and vlmevalkit looks for an
    option by its own rules first. `extract` stands in for the language model that comes next.

    If the response answers nothing, `parsed` is None. Then strict and vlmevalkit give 0; official
    and lmms compare as ever, and for a choice problem take the nearest option. For an empty
    extraction that is the shortest one: on testmini it is right in 168 of 540 choice problems.
    """
    match profile:
        case "official" | "strict":
            found = extract(response, problem)
            unanswered = found.value or ""
        case "lmms":
            found = extract(response.strip(), problem)
            unanswered = found.value or ""
        case "vlmevalkit":
            option = _inferred(response, problem) if problem.is_choice else NO_CHOICE
            if option.letter:
                own = verdict_of_extraction(option.letter, problem, profile)
                return replace(own, how=option.how)
            found = extract(response, problem)
            unanswered = ""
        case _:
            assert_never(profile)
    if found.is_answer:
        return replace(verdict_of_extraction(found.value, problem, profile), how=found.how)
    free = verdict_of_extraction(unanswered, problem, profile)
    return replace(free, parsed=None, how=found.how)


def verdict_of_extraction(
    extraction: Json, problem: Problem, profile: Profile = "official"
) -> Verdict:
    """The verdict on an answer that is extracted already, whatever JSON value it is.

    - official: `normalize`, then equality of texts.
    - strict: right only if official is, and if the extraction earned it: it names the option by
      letter or text (or the same number) rather than being nearest to it in edit distance, and an
      integer is a whole number ("14.9" is not 14). Empty is wrong, as it is with the official
      script's `--ignore_empty_extractions`.
    - lmms: as official, but a float answer is never right: the hub's `precision` is a float, and
      rounding to 2.0 places fails.
    - vlmevalkit: options as `metrics.parse.infer_option` finds them; integers by int(), for which
      "14.0" is none; floats unrounded; a list is never right.

    `parsed` is what was compared. It is None where there is nothing to compare, and for an empty
    extraction, though official gives that one the nearest option. `how` is "letter", "option text",
    "nearest option", "number", "list", "none" or "nothing found"; for vlmevalkit's options it is
    that of `infer_option`.

    Source: lupantech/MathVista at 53d5258, evaluation/calculate_score.py; lmms-eval 0.7.3,
    tasks/mathvista/mathvista_evals.py; VLMEvalKit, vlmeval/dataset/utils/mathvista.py.
    """
    match profile:
        case "official":
            prediction, is_right, how = _official(extraction, problem)
        case "strict":
            prediction, is_right, how = _strict(extraction, problem)
        case "lmms":
            prediction, is_right, how = _lmms(extraction, problem)
        case "vlmevalkit":
            prediction, is_right, how = _vlmevalkit(extraction, problem)
        case _:
            assert_never(profile)
    if isinstance(extraction, str) and not extraction.strip():
        return Verdict(value=float(is_right), parsed=None, how=NOTHING)
    return Verdict(value=float(is_right), parsed=prediction, how=how)


def normalize(extraction: Json, problem: Problem) -> str | None:
    """The prediction that MathVista compares with the gold answer; None, where there is none.

    A choice problem always has one: the first single letter in parentheses, or a bare capital
    letter, if it is that of a choice; else the choice nearest in edit distance, the first of
    several. An integer is cut off ("3.9" is "3"), a float rounded, a list compared as text.
    """
    if problem.is_choice:
        return _nearest(extraction, problem).prediction
    try:
        match problem.answer_type:
            case "integer":
                return str(int(_float(extraction)))
            case "float" if problem.precision is not None:
                return str(round(_float(extraction), int(problem.precision)))
            case "list":
                return str(extraction)
    except (OverflowError, TypeError, ValueError, RecursionError):
        return None
    return extraction if problem.answer_type == "text" and isinstance(extraction, str) else None


def _official(extraction: Json, problem: Problem) -> _Outcome:
    if problem.is_choice:
        return _nearest(extraction, problem)
    prediction = normalize(extraction, problem)
    return _Outcome(prediction, prediction == problem.answer, _kind(prediction, problem))


def _strict(extraction: Json, problem: Problem) -> _Outcome:
    outcome = _official(extraction, problem)
    is_earned = outcome.how != NEAREST
    is_whole = problem.answer_type == "integer" and not problem.is_choice
    if is_whole and outcome.prediction is not None:
        is_earned = not isinstance(extraction, bool) and _float(extraction).is_integer()
    return outcome if is_earned else _Outcome(None, False, outcome.how)


def _lmms(extraction: Json, problem: Problem) -> _Outcome:
    outcome = _official(extraction, problem)
    prediction = None if problem.answer_type == "float" else outcome.prediction
    return _Outcome(prediction, str(prediction).strip() == problem.answer.strip(), outcome.how)


def _vlmevalkit(extraction: Json, problem: Problem) -> _Outcome:
    if problem.is_choice:
        letter, how = _inferred(_str(extraction), problem)
        gold = dict(zip(reversed(problem.choices), reversed(problem.letters), strict=True))
        return _Outcome(letter, letter is not None and letter == gold.get(problem.answer), how)
    try:
        match problem.answer_type:
            case "integer":
                whole = _int(extraction)
                return _Outcome(str(whole), whole == int(problem.answer), "number")
            case "float":
                number = _float(extraction)
                return _Outcome(str(number), number == float(problem.answer), "number")
    except (OverflowError, TypeError, ValueError):
        pass
    return _Outcome(None, False, "none")


def _nearest(extraction: Json, problem: Problem) -> _Outcome:
    text = _text(extraction)
    inside = _ROUND_LETTER.search(text)
    letter = inside[1].upper() if inside else text
    if len(letter) == 1 and letter in problem.letters:
        choice, how = problem.choices[problem.letters.index(letter)], "letter"
    else:
        choice = min(problem.choices, key=lambda choice: Levenshtein.distance(letter, choice))
        same = named(plain(letter), problem)
        is_named = same is not None and problem.choices[problem.letters.index(same)] == choice
        how = "option text" if is_named else NEAREST
    return _Outcome(choice, choice == problem.answer, how)


def _inferred(text: str, problem: Problem) -> Choice:
    return infer_option(text, dict(zip(problem.letters, problem.choices, strict=True)))


def _kind(prediction: str | None, problem: Problem) -> str:
    kinds = {"integer": "number", "float": "number", "list": "list", "text": "text"}
    return "none" if prediction is None else kinds[problem.answer_type]


def _text(extraction: Json) -> str:
    return extraction.strip() if isinstance(extraction, str) else _str(extraction)


def _str(extraction: Json) -> str:
    try:
        return str(extraction)
    except (ValueError, RecursionError):  # too many digits for Python to write, or too deep a list
        return ""


def _float(extraction: Json) -> float:
    if isinstance(extraction, (int, float, str)):
        return float(extraction)
    raise TypeError(f"no number: {type(extraction).__name__}")


def _int(extraction: Json) -> int:
    if isinstance(extraction, (int, float, str)):
        return int(extraction)
    raise TypeError(f"no number: {type(extraction).__name__}")
