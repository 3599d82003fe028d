"""Conversations as the released chat template writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from idefics2.prompt import Slots

RELEASED_TEMPLATE = (
    "{% for message in messages %}{{message['role'].capitalize()}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""The chat template of idefics2-8b and idefics2-8b-chatty; idefics2-8b-base has none."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """"user" or "assistant"; "system" is the opening turn of the chatty model's demonstration."""
    content: tuple[str | Image.Image | Slots, ...]
    """Texts and pictures in the order in which the model sees them."""


def render(
    messages: Sequence[Message], end_of_utterance: int, add_generation_prompt: bool = True
) -> list[str | int | Image.Image | Slots]:
    """The conversation as text, pictures and the id of <end_of_utterance>: `RELEASED_TEMPLATE`.

    With `add_generation_prompt` it ends in "Assistant:", without a space, for the model to
    continue.

    Raises: ValueError for an empty message.
    """
    parts: list[str | int | Image.Image | Slots] = []
    for message in messages:
        if not message.content:
            raise ValueError(f"a message of the {message.role} is empty")
        colon = ": " if isinstance(message.content[0], str) else ":"
        parts += [message.role.capitalize() + colon, *message.content, end_of_utterance, "\n"]
    return [*parts, "Assistant:"] if add_generation_prompt else parts
