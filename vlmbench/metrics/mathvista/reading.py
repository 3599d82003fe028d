"""A response in the forms that the extraction rules read."""

from __future__ import annotations

import re
from functools import cached_property

from vlmbench.metrics.final_answer.statements import before_echo
from vlmbench.metrics.final_answer.tags import without_thought
from vlmbench.metrics.mathvista.notation import plain
from vlmbench.metrics.mathvista.problem import Problem

_SENTENCE_END = re.compile(r"(?<=[.!?])[\s\"')]+|(?<=。)|(?<!:)\n+")
_BOXED = re.compile(r"\\boxed\s?\{|<answer>", re.IGNORECASE)
_MAX_BOX = 2000
_MAX_END = 10_000
"""Characters read at each end of a longer response: answers stand there."""

_CANNOT = r"\b(?:can ?not|can't|could not|couldn't|unable to|(?:im|not )possible to)\b"
_DO = (
    r"\b(?:answer|calculat|comput|conclu|determin|estimat|find|help|identif|infer|know|measur"
    r"|process|provid|say|see|tell|view)"
)
_LACK = (
    r"\b(?:not|no|without) (?:have )?(?:(?:enough|sufficient|specific|additional|further|more) )?"
    r"(?:information|data|context)\b|\binsufficient\b|\bneed (?:more|additional|further)\b"
)
_NOT_GIVEN = (
    r"\b(?:is|are)(?: not|n't) (?:clear|provided|given|specified|determinable|available)\b"
    r"|\bunclear\b|\bnot applicable\b|\bN/A\b|\bdepends? on the (?:specific|data)\b"
)
REFUSAL = re.compile(
    rf"{_CANNOT}.{{0,60}}?{_DO}|{_LACK}|{_NOT_GIVEN}|\bI(?:'m| am) sorry\b|无法|不能确定",
    re.IGNORECASE,
)
"""The response says in this sentence that it does not know, or that something is not given."""


_SPACED = re.compile(
    r"(?:\A|(?<=[=:] )|(?<=\bis ))([0-9]{1,3}(?: [0-9]{3})+)(?=\W*(?:\w{1,12}\W*)?\Z)"
)
_DECIMAL_COMMA = re.compile(r"(-?[0-9]+),([0-9]{1,2})(?=\W*(?:[a-zA-Z]{1,12}\W*)?\Z)")
_SCALED = re.compile(
    r"(?<![a-zA-Z\d.,])([0-9]{1,6}(?:\.[0-9]{1,6})?) ?"
    r"(thousand|million|billion|trillion|\u4e07|\u842c|\u4ebf|\u5104)(?![a-zA-Z])",
    re.IGNORECASE,
)
_SCALES = {
    **{"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"\u4e07": 10**4, "\u842c": 10**4, "\u4ebf": 10**8, "\u5104": 10**8},
}


def _with_plain_numbers(text: str, problem: Problem) -> str:
    """`text` with "12 500" as "12500" at its end, and for a number also "2,5" and "1.2 million"."""
    if problem.is_choice or problem.answer_type == "list":
        return text
    text = _SPACED.sub(lambda match: match[1].replace(" ", ""), text)
    if problem.answer_type == "float" and (comma := _DECIMAL_COMMA.match(text)):
        text = f"{comma[1]}.{comma[2]}{text[comma.end() :]}"
    asked = f"{problem.question} {problem.unit or ''}".lower()

    def scaled(match: re.Match[str]) -> str:
        if match[2].lower() in asked:  # "how many million": the number alone is meant
            return match[0]
        value = float(match[1]) * _SCALES[match[2].lower()]
        return str(round(value)) if abs(value - round(value)) < 1e-6 else str(value)

    return _SCALED.sub(scaled, text)


class Reading:
    """A response in the forms that the rules read; each is computed once, on first use."""

    def __init__(self, response: str, problem: Problem) -> None:
        self.problem = problem
        said = before_echo(without_thought(response))
        if len(said) > 2 * _MAX_END:
            said = f"{said[:_MAX_END]}\n{said[-_MAX_END:]}"
        self.said = said
        """Response as written, without reasoning tags or what follows an echo of the prompt."""

    @cached_property
    def text(self) -> str:
        """`said` in plain spelling, with numbers as Python writes them where that is sure."""
        return _with_plain_numbers(plain(self.said).strip(), self.problem)

    @cached_property
    def sentences(self) -> list[str]:
        """Sentences and lines of `text`; a line that ends in a colon goes on in the next."""
        return [part for part in _SENTENCE_END.split(self.text) if part.strip()]

    @cached_property
    def boxed(self) -> str:
        r"""The plain content of the last "\boxed{...}" or "<answer>...</answer>"; else empty."""
        openings = list(_BOXED.finditer(self.said))
        if not openings:
            return ""
        opening = openings[-1]
        content = self.said[opening.end() : opening.end() + _MAX_BOX]
        if opening[0].startswith("<"):
            return plain(content.split("<")[0]).strip()
        depth = 1
        for index, mark in enumerate(content):
            depth += (mark == "{") - (mark == "}")
            if not depth:
                return plain(content[:index]).strip()
        return ""

    def refuses(self, last: int) -> bool:
        """True if the first sentence or one of the `last` ones says that the answer is unknown."""
        return any(map(REFUSAL.search, self.sentences[:1] + self.sentences[-last:]))
