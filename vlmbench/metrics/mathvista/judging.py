"""MathVista's extraction by a language model: what it is asked, and how its reply is read.

The official script asks GPT-4; the prompt here asks the same of any model. The rules of `extract`
need no model.
"""

from __future__ import annotations

import re

from vlmbench.metrics.final_answer.tags import without_thought
from vlmbench.metrics.mathvista.extraction import shortcut
from vlmbench.metrics.mathvista.problem import Problem
from vlmbench.schema import Message

MAX_RESPONSE = 12_000
"""Characters of a response that are shown to the judge; of a longer one, both ends."""


def known(response: str, problem: Problem) -> str | None:
    """The answer that MathVista's official script takes without asking a model; None: it asks.

    An empty response has an empty answer.
    """
    found = shortcut(response, problem)
    if found is not None and found.value is not None:
        return found.value
    return None if response.strip() else ""


def messages(response: str, problem: Problem) -> tuple[Message, ...]:
    """An instruction, worked examples as turns of a chat, and the question with the response."""
    turns = [Message(role="system", content=(_INSTRUCTION,))]
    for asked, answer in _EXAMPLES:
        turns.append(Message(role="user", content=(asked,)))
        turns.append(Message(role="assistant", content=(answer,)))
    return (*turns, Message(role="user", content=(_asked(response, problem),)))


def read(reply: str) -> str:
    """The answer in a judge's reply, without its reasoning and a label such as "Answer:"."""
    return _LABEL.sub("", without_thought(reply).strip()).strip()


_INSTRUCTION = (
    "You read a question and another model's response to it. Reply with the final answer that the"
    " response gives, and nothing else: the letter of the chosen option, or one number without"
    " unit, or a Python list. Do not solve the question and do not correct the response. If the"
    " response gives no answer, reply N/A."
)
_EXAMPLES = (
    (
        "Question (answer with an option's letter): How do the two bars compare?\n"
        "Options:\n(A) shorter\n(B) taller\n(C) equal\n"
        "Response: The left bar reaches 7 and the right one 4, so it is the taller one.",
        "B",
    ),
    (
        "Question (answer with an integer): What do the three tickets cost? (Unit: $)\n"
        "Response: One ticket costs $1,100, so three of them cost 3 x $1,100 = **$3,300**.",
        "3300",
    ),
    (
        "Question (answer with a number with 2 decimals): What share of the pupils walk?\n"
        "Response: 12 of the 48 pupils walk, which is a quarter, or 0.25.",
        "0.25",
    ),
    (
        "Question (answer with a Python list): In which two years do the lines cross?\n"
        "Response: They cross in 1998 and again in 2003.",
        "[1998, 2003]",
    ),
    (
        "Question (answer with an integer): How old is the older of the two?\n"
        "Response: I am sorry, but I cannot tell the age of people in pictures.",
        "N/A",
    ),
)
_KINDS = {"text": "a short text", "integer": "an integer", "list": "a Python list"}
_LABEL = re.compile(r"\A(?:extracted |final )?answer\s*:\s*", re.IGNORECASE)


def _asked(response: str, problem: Problem) -> str:
    kind = "an option's letter" if problem.is_choice else _KINDS.get(problem.answer_type)
    if kind is None:
        places = "" if problem.precision is None else f" with {int(problem.precision)} decimals"
        kind = f"a number{places}"
    unit = f" (Unit: {problem.unit})" if problem.unit else ""
    lettered = zip(problem.letters, problem.choices, strict=True)
    options = [f"({letter}) {choice}" for letter, choice in lettered]
    if len(response) > MAX_RESPONSE:
        half = MAX_RESPONSE // 2
        response = f"{response[:half]}\n[...]\n{response[-half:]}"
    return "\n".join(
        (
            f"Question (answer with {kind}): {problem.question}{unit}",
            *(("Options:", *options) if options else ()),
            f"Response: {response}",
        )
    )
