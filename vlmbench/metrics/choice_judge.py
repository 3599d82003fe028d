"""A language model as the reader of a choice: what it is asked, and how its reply is read."""

from __future__ import annotations

import re

from vlmbench.metrics.final_answer import extract
from vlmbench.metrics.judge import JudgePrompt
from vlmbench.schema import Message, Sample

MAX_RESPONSE = 12_000
"""Characters of a response that are shown to the judge; of a longer one, both ends."""

NO_OPTION = "Z"
"""The judge's letter for a response that chooses none; it is wrong, as a refusal is."""

_INSTRUCTION = (
    "You read a multiple-choice question and another model's response to it. Reply with the letter"
    " of the option that the response chooses, and nothing else. Do not solve the question and do"
    f" not correct the response. If it chooses none of the options, reply {NO_OPTION}."
)
_EXAMPLES = (
    (
        "Question: Which animal is on the left?\nOptions:\n(A) a brown bear\n(B) a rabbit\n"
        "(C) a cat\nResponse: The creature there is a bunny with long ears.",
        "B",
    ),
    (
        "Question: What stands on the table?\nOptions:\n(A) a lamp\n(B) a vase\n"
        "Response: It is a radio, as far as I can see.",
        NO_OPTION,
    ),
)
_LETTER = re.compile(r"[A-Z]")


def _known(sample: Sample, response: str) -> str | None:
    return None


def _messages(sample: Sample, response: str) -> tuple[Message, ...]:
    turns = [Message(role="system", content=(_INSTRUCTION,))]
    for asked, answer in _EXAMPLES:
        turns.append(Message(role="user", content=(asked,)))
        turns.append(Message(role="assistant", content=(answer,)))
    return (*turns, Message(role="user", content=(_asked(sample, response),)))


def _asked(sample: Sample, response: str) -> str:
    if len(response) > MAX_RESPONSE:
        half = MAX_RESPONSE // 2
        response = f"{response[:half]}\n[...]\n{response[-half:]}"
    options = [f"({letter}) {text}" for letter, text in sample.options.items()]
    hint = [f"Hint: {sample.hint}"] if sample.hint else []
    return "\n".join(
        (*hint, f"Question: {sample.question}", "Options:", *options, f"Response: {response}")
    )


def _read(reply: str) -> str:
    """The letter in a reply, whatever stands around it; empty: it has none."""
    letters = dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")
    letter = extract(reply, "full", letters).text
    return letter if _LETTER.fullmatch(letter) else ""


JUDGE = JudgePrompt(known=_known, messages=_messages, read=_read, only_unparsed=True)
"""Of MMMU and MMBench: asked where the rules find no letter."""
