"""MMBench (Liu et al., 2023, arXiv:2307.06281): option letters, by row and by circular group."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import assert_never

from vlmbench.metrics.parse import API_FAILURE, NO_CHOICE, Choice, infer_option
from vlmbench.schema import Profile, Verdict

LMMS_LETTERS = tuple("ABCDE")
LMMS_OPTIONS = tuple("ABCD")
LMMS_NO_OPTION = "nan"
"""What its copy of the data set holds, as text, where an option is missing."""

LMMS_FORMS = (
    *("{}.", "{},", "{}:", "{})", "{})."),
    *("({})", "({})."),
    *(":{}", ":{},", ":{}.", ":{})", ":{})."),
)


def row(
    response: str, options: Mapping[str, str], answer: str, profile: Profile = "official"
) -> Verdict:
    """Grades `response` against the option `answer`; `options` maps the letters there are to text.

    `parsed` is the inferred letter. "Z", a refusal, is an answer and wrong; a row that no rule
    decides has None. `how` is "letter", "answer is", "option text", "refusal", "none" or "guess".

    - official and vlmevalkit: `metrics.parse.infer_option`; there is no judge, so an undecided
      row is wrong. (The submission server, now closed, gave LLaVA-1.5-13B the same score.)
    - strict: the same without credit for parts of words. "answer is bird" does not name B nor
      "answer is a dog" A; "catfish" does not name the option "cat"; an option without text is
      named by nothing but its letter.
    - lmms: another letter rule (no marks but those beside a letter, anywhere in the text, E among
      the letters), missing options have the text "nan", and what is undecided, where lmms-eval
      asks a judge and without one draws a letter from A to E, has the value of that draw, 1/5.

    Source: VLMEvalKit e8e78f0, vlmeval/utils/matching_util.py, `can_infer`;
    lmms-eval 0.7.3, tasks/mmbench/mmbench_evals.py, `MMBench_Evaluator`.
    """
    match profile:
        case "official" | "vlmevalkit":
            letter, how = infer_option(response, options)
        case "strict":
            stripped = {letter: text.strip() for letter, text in options.items()}
            letter, how = infer_option(response.strip(), stripped, strict=True)
        case "lmms":
            letter, how = _lmms_choice(response.strip(), options)
            if letter is None:
                value = (answer in LMMS_LETTERS) / len(LMMS_LETTERS)
                return Verdict(value=value, parsed=None, how="guess")
        case _:
            assert_never(profile)
    return Verdict(value=float(letter == answer), parsed=letter, how=how)


def letter_verdict(letter: str, answer: str) -> Verdict:
    """The verdict on a letter that a judge read; "Z" is none of the options, and wrong."""
    return Verdict(value=float(letter == answer), parsed=letter, how="judge")


def circular(values: Iterable[float]) -> float:
    """CircularEval's value of a question: the product of its rows, which rotate the same options.

    So 1 if all rows are right and 0 if any is wrong. Rows that hold the expected value of a random
    draw give the question's expected value, as draws are independent.

    Raises: ValueError if there are no rows.
    Source: VLMEvalKit, vlmeval/dataset/utils/multiple_choice.py, `mcq_circular_eval`.
    """
    rows = list(values)
    if not rows:
        raise ValueError("a question without rows has no value")
    return math.prod(rows)


def _lmms_choice(response: str, options: Mapping[str, str]) -> Choice:
    words = response.split()
    distinct = set(words)
    if API_FAILURE not in response:
        named = [letter for letter in LMMS_LETTERS if letter in distinct]
        if len(named) == 1 and (named != ["A"] or len(words) <= 3):  # else it may be the article
            return Choice(named[0], "letter")
        for form in LMMS_FORMS:
            named = [letter for letter in LMMS_LETTERS if form.format(letter) in distinct]
            if len(named) == 1:
                return Choice(named[0], "letter")
    lowered = response.lower()
    texts = {letter: options.get(letter, LMMS_NO_OPTION).lower() for letter in LMMS_OPTIONS}
    named = [letter for letter, text in texts.items() if text in lowered]
    return Choice(named[0], "option text") if len(named) == 1 else NO_CHOICE
