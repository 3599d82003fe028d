"""A MathVista question: the fields that extraction and comparison need."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase

from vlmbench.errors import VlmbenchError

QUESTION_TYPES = ("multi_choice", "free_form")
ANSWER_TYPES = ("text", "integer", "float", "list")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question without its picture; the names are the data set's columns."""

    question_type: str
    answer_type: str
    answer: str
    """The gold answer: a choice's text, or a number or list as Python writes it."""

    choices: tuple[str, ...] = ()
    """Option texts, A first; at least one for a "multi_choice" question."""

    precision: float | None = None
    """Decimals of a "float" answer (the hub stores 1.0 and 2.0); no other type has one."""

    unit: str | None = None
    question: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("question_type", self.question_type, QUESTION_TYPES),
            ("answer_type", self.answer_type, ANSWER_TYPES),
        ):
            if value not in known:
                raise VlmbenchError(f"MathVista has no {name} {value!r}; it has {', '.join(known)}")
        if self.is_choice and not 0 < len(self.choices) <= len(ascii_uppercase):
            raise VlmbenchError(
                f"a multi_choice problem has 1 to 26 choices, not {len(self.choices)}"
            )

    @property
    def is_choice(self) -> bool:
        return self.question_type == "multi_choice"

    @property
    def letters(self) -> str:
        """The choices' letters: "ABCD" for four."""
        return ascii_uppercase[: len(self.choices)]
