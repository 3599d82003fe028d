"""Chat messages and their content in other harnesses' logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlmbench.data.predictions.line import wrong
from vlmbench.schema import Json


def text_of(content: Any) -> str | None:
    """The text of a message's content, parts joined; what is no text in it is passed over.

    None: there is no content.
    """
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "".join(part for part in parts if isinstance(part, str))


def answer_of(output: Any, where: str) -> str | None:
    """The first choice's text of a model's output; None: it gave none."""
    if not isinstance(output, Mapping):
        return None
    choices = output.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = first.get("message") if isinstance(first, Mapping) else None
    text = text_of(message.get("content")) if isinstance(message, Mapping) else None
    if text is None and isinstance(output.get("completion"), str):
        text = output["completion"] or None
    if text is None and choices:
        raise wrong("choices", choices, "choices with a message's content", where)
    return text


def question_of(messages: Json) -> str:
    """The text of the last user's message; a text is that message itself."""
    if isinstance(messages, str):
        return messages
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return text_of(message.get("content")) or ""
    return ""
