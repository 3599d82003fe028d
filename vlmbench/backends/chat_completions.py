"""The chat-completions format: what a server is sent for a request, and what its reply says.

Reference: OpenAI's API, and the extensions of the servers in `DIALECTS`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
"""By `owned_by` of the models that a server lists."""

OPENAI = Dialect(name="OpenAI", limit="max_completion_tokens")  # newer models refuse max_tokens


class UnsupportedError(Exception):
    """A request that the server cannot answer as it is meant; it is not sent in another form."""


class ReplyError(Exception):
    """A reply without an answer in it."""


class ServerError(Exception):
    """No answer: the server refused, failed, or could not be reached."""

    def __init__(
        self,
        message: str,
        *,
        may_pass: bool,
        retry_after: str | None = None,
        is_unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.may_pass = may_pass
        self.retry_after = retry_after
        """The header of that name."""
        self.is_unreachable = is_unreachable


def may_pass(status: object) -> bool:
    """Whether the same request may succeed later, after that HTTP status."""
    return isinstance(status, int) and (status in (408, 425, 429) or status >= 500)


def body(
    request: Request, model: str, settings: Settings, dialect: Dialect, *, stream: bool
) -> bytes:
    """The JSON of a request, with its pictures inside.

    `answer_prefix` becomes an assistant's message that the server goes on with. Candidates are
    ranked by the first token, of which the server lists the likeliest; so they are single letters.

    Raises: UnsupportedError where the server cannot do what is asked; ValueError or OSError for a
    picture that cannot be read.
    """
    messages = [{"role": m.role, "content": _content(m)} for m in request.messages]
    fields: dict[str, Any] = {"model": model, "messages": messages}
    if request.answer_prefix:
        if dialect.continues is None:
            raise UnsupportedError(
                f"the prompt starts the answer with {request.answer_prefix!r}, which this server "
                "is not known to go on with (vLLM, SGLang and llama.cpp are); "
                "take a prompt style that starts no answer, such as lmms"
            )
        messages.append({"role": "assistant", "content": request.answer_prefix})
        fields |= dialect.continues
    if request.candidates:
        return json.dumps(fields | _ranking(request, dialect)).encode()
    if request.bad_words and not dialect.has_bad_words:
        raise UnsupportedError(
            "the prompt style forbids words, which this server is not known to do (vLLM is); "
            "take one that forbids none, such as lmms"
        )
    fields |= {
        dialect.limit: request.max_new_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
    }
    if settings.temperature:
        fields["seed"] = settings.seed
    if request.stop:
        fields["stop"] = request.stop
    if request.bad_words:
        fields["bad_words"] = request.bad_words
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(fields).encode()


def _ranking(request: Request, dialect: Dialect) -> dict[str, Any]:
    if any(len(candidate.strip()) != 1 for candidate in request.candidates):
        raise UnsupportedError(
            "a server ranks candidates by their first token, so they must be single letters; "
            "take a prompt style that generates, such as idefics2 or lmms"
        )
    return {dialect.limit: 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}


def _content(message: Message) -> str | list[dict[str, Any]]:
    """Text alone is sent as text: not every server takes a list for every role."""
    texts = [piece for piece in message.content if isinstance(piece, str)]
    if len(texts) == len(message.content):
        return "".join(texts)
    return [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": data_uri(piece)}}
        for piece in message.content
    ]


def data_uri(picture: Picture) -> str:
    """The picture's file as it is stored where all servers read its format, else as PNG.

    Raises: ValueError or OSError where it cannot be read.
    """
    encoded = picture.encoded()
    mime = _mime(encoded)
    if mime is None:
        mime, encoded = "image/png", _as_png(picture)
    return f"data:{mime};base64,{base64.b64encode(encoded).decode()}"


def _mime(encoded: bytes) -> str | None:
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if encoded.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if encoded.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return "image/webp"
    return None


_PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")


def _as_png(picture: Picture) -> bytes:
    image = picture.decode()
    if image.mode not in _PNG_MODES:
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@dataclass(slots=True)
class Answer:
    """What a reply says: one document, or the chunks of a stream one after another."""

    text: str = ""
    finish_reason: str | None = None
    has_choice: bool = False
    _usage: Mapping[str, Any] = field(default_factory=dict)
    _logprobs: Sequence[Mapping[str, Any]] = ()

    def add(self, document: Any) -> bool:
        """Whether the document brought text.

        Raises: ServerError if it is an error message; ReplyError if it is no chat completion.
        """
        if not isinstance(document, dict):
            raise ReplyError(f"not a chat completion: {document}")
        if error := document.get("error"):
            status = error.get("code") if isinstance(error, dict) else None
            raise ServerError(message_of(document), may_pass=may_pass(status))
        try:
            if isinstance(usage := document.get("usage"), dict):
                self._usage = usage
            choices = document.get("choices")
            if not choices:  # the chunk with the counts
                return False
            choice = choices[0]
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            self._logprobs = (choice.get("logprobs") or {}).get("content") or self._logprobs
            text = (choice.get("message") or choice.get("delta") or {}).get("content") or ""
            self.text += text
        except (AttributeError, TypeError, KeyError) as error:
            raise ReplyError(f"not a chat completion: {error}") from None
        self.has_choice = True
        return bool(text)

    @property
    def prompt_tokens(self) -> int | None:
        return _count(self._usage, "prompt_tokens")

    @property
    def generated_tokens(self) -> int | None:
        return _count(self._usage, "completion_tokens")

    @property
    def visual_tokens(self) -> int | None:
        """Newer versions of vLLM and SGLang count them, where they are started to."""
        return _count(self._usage.get("prompt_tokens_details"), "image_tokens")

    def best(self, candidates: Sequence[str]) -> str:
        """The candidate that the likeliest first token spells, with or without a space before it.

        A candidate that is not listed is less likely than all that are: the best one is the best.

        Raises: UnsupportedError without log-probabilities; ReplyError if no candidate is listed.
        """
        try:
            first = self._logprobs[0]["top_logprobs"] if self._logprobs else []
            ranked = sorted((-float(token["logprob"]), token["token"]) for token in first)
            spelt = [token.strip(_SPACES) for _, token in ranked]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ReplyError(f"log-probabilities in an unknown form: {error!r}") from None
        if not spelt:
            raise UnsupportedError(
                "the server gives no log-probabilities, by which this prompt style ranks its "
                "candidates; take a style that generates, such as idefics2 or lmms"
            )
        letters = {candidate.strip(): candidate for candidate in candidates}
        for token in spelt:
            if token in letters:
                return letters[token]
        raise ReplyError(f"no candidate is among the {len(spelt)} likeliest tokens")


_SPACES = " \u2581\u0120"  # the space as text, in SentencePiece and in byte-level BPE


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else None


def message_of(document: object) -> str:
    """What an error reply says, wherever the server puts it."""
    while isinstance(document, dict):
        for key in ("error", "message", "detail"):
            if document.get(key):
                document = document[key]
                break
        else:
            document = json.dumps(document)
    return str(document)
