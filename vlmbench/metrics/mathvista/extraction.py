"""Answer extraction by rules in a fixed order, instead of by a language model."""

from __future__ import annotations

from dataclasses import dataclass

from vlmbench.metrics.mathvista import number_rules, option_rules
from vlmbench.metrics.mathvista.problem import Problem
from vlmbench.metrics.mathvista.quantities import decimal
from vlmbench.metrics.mathvista.reading import Reading

NOTHING = "nothing found"
REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer in a response, in the form in which MathVista's extractor writes it."""

    value: str | None
    """A choice's letter or text, a number, a list; None: no rule applies."""

    how: str
    """The rule that found it: "answer letter", "boxed number", "refusal", ..."""

    @property
    def is_answer(self) -> bool:
        """False: the response says nothing, or that it does not know."""
        return self.how not in (NOTHING, REFUSAL)


def extract(response: str, problem: Problem) -> Extraction:
    """The answer in a response, extracted without a language model.

    After `shortcut` come the rules of `option_rules` or `number_rules`, of which the first that
    applies decides. What stands in `<think>` tags, or after an echo of the prompt, is not read.
    """
    found = shortcut(response, problem)
    if found is not None:
        return found
    reading = Reading(response, problem)
    for rule in option_rules.RULES if problem.is_choice else number_rules.RULES:
        value = rule(reading)
        if value is not None:
            value = decimal(value) if problem.answer_type == "float" else value
            return Extraction(value, rule.__name__.replace("_", " "))
    return Extraction(None, NOTHING)


def shortcut(response: str, problem: Problem) -> Extraction | None:
    """The answer that the official script takes without asking a model; None: it would ask.

    A response that is a choice's exact text, or that Python reads as the number asked for.
    Source: lupantech/MathVista, evaluation/extract_answer.py.
    """
    if problem.is_choice:
        return Extraction(response, "exact choice") if response in problem.choices else None
    try:
        match problem.answer_type:
            case "integer":
                return Extraction(str(int(response)), "exact number")
            case "float":
                return Extraction(str(float(response)), "exact number")
    except ValueError:
        pass
    return None
