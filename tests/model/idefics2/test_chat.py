"""Conversations rendered as by the chat template that idefics2-8b ships."""

from __future__ import annotations

import random

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from PIL import Image

from idefics2.chat import RELEASED_TEMPLATE, Message, render

END_ID = 32002
PICTURE = Image.new("RGB", (1, 1))
TEMPLATE = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
    RELEASED_TEMPLATE
)
"""In the environment that transformers renders chat templates in."""


def written(messages: list[Message], *, add_generation_prompt: bool) -> str:
    parts = render(messages, END_ID, add_generation_prompt)
    names = {int: "<end_of_utterance>", Image.Image: "<image>"}
    return "".join(part if isinstance(part, str) else names[type(part)] for part in parts)


def rendered_by_jinja(messages: list[Message], *, add_generation_prompt: bool) -> str:
    return TEMPLATE.render(
        messages=[
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                    for part in message.content
                ],
            }
            for message in messages
        ],
        add_generation_prompt=add_generation_prompt,
    )


@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_random_conversations_equal_jinja(add_generation_prompt: bool) -> None:
    dice = random.Random(0)
    texts = ["What?", "", " a ", "\n", "{{ 1 }}", "<image 1>", "\u00e9\u4e16", "x\n\ny"]
    for _ in range(200):
        messages = [
            Message(
                dice.choice(["user", "assistant", "system", "USER"]),
                tuple(
                    PICTURE if dice.random() < 0.4 else dice.choice(texts)
                    for _ in range(dice.randint(1, 5))
                ),
            )
            for _ in range(dice.randint(0, 4))
        ]
        ours = written(messages, add_generation_prompt=add_generation_prompt)
        assert ours == rendered_by_jinja(messages, add_generation_prompt=add_generation_prompt)


def test_a_question_about_a_picture_reads_as_in_the_paper() -> None:
    messages = [Message("user", (PICTURE, "What is it?\nGive a very brief answer."))]
    assert written(messages, add_generation_prompt=True) == (
        "User:<image>What is it?\nGive a very brief answer.<end_of_utterance>\nAssistant:"
    )


def test_a_text_first_turn_has_a_space_after_the_colon() -> None:
    messages = [Message("user", ("Which?", PICTURE)), Message("assistant", ("This.",))]
    assert written(messages, add_generation_prompt=False) == (
        "User: Which?<image><end_of_utterance>\nAssistant: This.<end_of_utterance>\n"
    )


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(ValueError, match="a message of the user is empty"):
        render([Message("user", ())], END_ID)
