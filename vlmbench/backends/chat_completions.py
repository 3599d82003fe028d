"""The chat-completions format: what a server is sent for a request.

Reference: OpenAI's API, and the extensions of the servers in `DIALECTS`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlmbench.backends import pictures
from vlmbench.backends.replies import UnsupportedError
from vlmbench.backends.settings import ServerSettings as Settings
from vlmbench.schema import Json, Message, Picture, Request

TOP_LOGPROBS = 20
"""Most likely tokens that a server lists: OpenAI's limit, and vLLM's and SGLang's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a kind of server can do beyond OpenAI's API, and how it is asked to."""

    name: str = "OpenAI-compatible"
    continues: Mapping[str, Json] | None = None
    """Fields that make it go on with a last message of the assistant; None: it cannot."""

    has_bad_words: bool = False
    knows_its_models: bool = False
    """It lists exactly what it serves; and some then take any name for it."""

    limit: str = "max_tokens"


_CONTINUE: Mapping[str, Json] = {"continue_final_message": True, "add_generation_prompt": False}

DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(name="vLLM", continues=_CONTINUE, has_bad_words=True, knows_its_models=True),
    "sglang": Dialect(name="SGLang", continues=_CONTINUE, knows_its_models=True),
    "llamacpp": Dialect(name="llama.cpp", continues={}, knows_its_models=True),
}
"""Dialects by `owned_by` of a server's models."""

OPENAI = Dialect(name="OpenAI", limit="max_completion_tokens")  # newer models refuse max_tokens


OWN_FIELDS = (
    *("model", "messages", "stream", "stream_options", "temperature", "top_p", "seed"),
    *("max_tokens", "max_completion_tokens", "stop", "n", "logprobs", "top_logprobs", "bad_words"),
    *("continue_final_message", "add_generation_prompt"),
)
"""What `extra_body` may not hold, as the run itself says it."""


def fields(
    request: Request, model: str, settings: Settings, dialect: Dialect, *, stream: bool
) -> dict[str, Any]:
    """The JSON object of a request, with its pictures inside, and without what is the default.

    `answer_prefix` becomes an assistant's message that the server goes on with. Candidates are
    ranked by the first token, of which the server lists the likeliest; so they are single letters.
    Stop strings are not sent: servers look for them in the model's reasoning too, or refuse them;
    `stop_strings.cut` applies them to the answer.

    Raises: UnsupportedError where the server cannot do what is asked; ValueError or OSError for a
    picture that cannot be read.
    """
    messages = [_message(message, settings) for message in _conversation(request, settings)]
    found: dict[str, Any] = {"model": model, "messages": messages}
    if request.answer_prefix:
        if dialect.continues is None:
            raise UnsupportedError(
                f"the prompt starts the answer with {request.answer_prefix!r}, which this server "
                "is not known to go on with (vLLM, SGLang and llama.cpp are); "
                "take a prompt style that starts no answer, such as lmms"
            )
        messages.append({"role": "assistant", "content": request.answer_prefix})
        found |= dialect.continues
    if request.candidates:
        return found | _ranking(request, dialect) | dict(settings.extra_body or {})
    if request.bad_words and not dialect.has_bad_words:
        raise UnsupportedError(
            "the prompt style forbids words, which this server is not known to do (vLLM is); "
            "take one that forbids none, such as lmms"
        )
    found |= {dialect.limit: request.max_new_tokens, "temperature": settings.temperature}
    if settings.top_p < 1:
        found["top_p"] = settings.top_p
    if settings.temperature:
        found["seed"] = settings.seed
    if request.bad_words:
        found["bad_words"] = request.bad_words
    if stream:
        found |= {"stream": True, "stream_options": {"include_usage": True}}
    return found | dict(settings.extra_body or {})


def _conversation(request: Request, settings: Settings) -> Sequence[Message]:
    if settings.system is None:
        return request.messages
    return (Message(role="system", content=(settings.system,)), *request.messages)


def _ranking(request: Request, dialect: Dialect) -> dict[str, Any]:
    if any(len(candidate.strip()) != 1 for candidate in request.candidates):
        raise UnsupportedError(
            "a server ranks candidates by their first token, so they must be single letters; "
            "take a prompt style that generates, such as idefics2 or lmms"
        )
    return {dialect.limit: 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}


def _message(message: Message, settings: Settings) -> dict[str, Any]:
    """Text alone is sent as text: not every server takes a list for every role."""
    texts = [piece for piece in message.content if isinstance(piece, str)]
    if len(texts) == len(message.content):
        return {"role": message.role, "content": "".join(texts)}
    content = [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": _data_uri(piece, settings.max_side)}}
        for piece in message.content
    ]
    return {"role": message.role, "content": content}


def _data_uri(picture: Picture, max_side: int | None) -> str:
    mime, encoded = pictures.sent(picture, max_side)
    return f"data:{mime};base64,{base64.b64encode(encoded).decode()}"
