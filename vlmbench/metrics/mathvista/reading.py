"""A response in the forms that the extraction rules read."""

from __future__ import annotations

import re
from functools import cached_property

from vlmbench.metrics.mathvista.notation import before_echo, plain, without_reasoning
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


class Reading:
    """A response in the forms that the rules read; each is computed once, on first use."""

    def __init__(self, response: str, problem: Problem) -> None:
        self.problem = problem
        said = before_echo(without_reasoning(response))
        if len(said) > 2 * _MAX_END:
            said = f"{said[:_MAX_END]}\n{said[-_MAX_END:]}"
        self.said = said
        """Response as written, without reasoning tags or what follows an echo of the prompt."""

    @cached_property
    def text(self) -> str:
        """`said` in plain spelling."""
        return plain(self.said).strip()

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
