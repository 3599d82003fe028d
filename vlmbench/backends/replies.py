"""What a server's reply says: the answer, its reasoning, its counts, or an error.

Reference: OpenAI's chat-completions API, and what servers that speak it write otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from vlmbench.files import is_figure

COMPLETE = frozenset(
    {
        *("stop", "eos", "eos_token", "end", "end_turn", "end_of_text", "endoftext", "done"),
        *("stop_sequence", "stop_string", "stop_token", "stopped", "stopping", "im_end"),
        *("complete", "completed", "completion", "finish", "finished", "normal", "success"),
    }
)
"""Finish reasons of an answer that its model ended, in small letters."""

CUT_OFF = frozenset(
    {
        *("length", "max_tokens", "max_length", "max_new_tokens", "max_output_tokens"),
        *("max_completion_tokens", "token_limit", "limit", "model_length", "context_length"),
        *("model_context_window_exceeded", "max_context_length", "truncated", "incomplete"),
    }
)
"""Finish reasons of an answer that a limit of tokens ended."""

NO_ANSWER = frozenset(
    {
        *("content_filter", "filter", "filtered", "safety", "recitation", "blocklist", "spii"),
        *("prohibited_content", "sensitive", "refusal", "blocked", "guardrail_intervened"),
        *("content_filtered", "image_safety", "risk", "eval_blocked"),
        *("tool_calls", "tool_call", "tool_use", "function_call", "malformed_function_call"),
        *("error", "failed", "failure", "abort", "aborted", "cancelled", "canceled", "timeout"),
        *("network_error", "insufficient_system_resource", "load", "other", "unknown"),
    }
)
"""Finish reasons of what is not the model's answer, or not all of it."""

REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_text")
"""Names under which servers give the reasoning beside `content`."""


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
        said: object = None,
    ) -> None:
        super().__init__(message)
        self.may_pass = may_pass
        self.retry_after = retry_after
        """The header of that name."""
        self.is_unreachable = is_unreachable
        self.said = said
        """The error as the server gives it, where it may be about a field that was sent."""


def may_pass(status: object) -> bool:
    """True if the same request may succeed later, after this HTTP status."""
    return isinstance(status, int) and (status in (408, 425, 429) or status >= 500)


@dataclass(slots=True)
class Answer:
    """What a reply says: one document, or the chunks of a stream one after another."""

    text: str = ""
    reasoning: str = ""
    has_choice: bool = False
    is_whole: bool = False
    """The reply came to its end: a document, or a stream that said so."""

    _finish_reason: str = ""
    _usage: Mapping[str, Any] = field(default_factory=dict)
    _logprobs: Sequence[Mapping[str, Any]] = ()

    def add(self, document: Any) -> bool:
        """True if the document brought text of the answer or of its reasoning.

        Raises: ServerError if it is an error message; ReplyError if it is no chat completion.
        """
        if not isinstance(document, dict):
            raise ReplyError(f"not a chat completion: {document}")
        if error := document.get("error"):
            status = error.get("code") if isinstance(error, dict) else None
            raise ServerError(message_of(document), may_pass=may_pass(status), said=document)
        try:
            usage = document.get("usage")
            if isinstance(usage, dict):
                self._usage = usage
            choices = document.get("choices")
            if not choices:  # the chunk with the counts comes last
                self.is_whole = self.is_whole or (self.has_choice and usage is not None)
                return False
            choice = choices[0]
            if reason := choice.get("finish_reason"):
                if not isinstance(reason, str):
                    raise ReplyError(f"a finish reason of another type: {str(reason)[:80]}")
                self._finish_reason, self.is_whole = reason, True
            self._logprobs = (choice.get("logprobs") or {}).get("content") or self._logprobs
            is_new = self._take(choice.get("message") or choice.get("delta") or {})
        except (AttributeError, TypeError, KeyError) as error:
            raise ReplyError(f"not a chat completion: {error}") from None
        self.has_choice = True
        return is_new

    def _take(self, message: Mapping[str, Any]) -> bool:
        text, reasoning = _texts(message.get("content"))
        beside = (_texts(message.get(name)) for name in REASONING)
        reasoning = reasoning or next(("".join(found) for found in beside if any(found)), "")
        text = text or _texts(message.get("refusal")).text
        self.text += text
        self.reasoning += reasoning
        return bool(text or reasoning)

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        """Reason by any server's name; an unknown one ends an answer that has a text.

        Raises: ReplyError for one that says that this is not the model's answer.
        """
        reason = self._finish_reason.lower().removeprefix("finish_reason_")
        if reason in CUT_OFF:
            return "length"
        if reason in NO_ANSWER or (reason and reason not in COMPLETE and not self.text):
            raise ReplyError(f"the server ended the answer by {self._finish_reason!r}")
        return "stop"

    @property
    def prompt_tokens(self) -> int | None:
        return _count(self._usage, "prompt_tokens")

    @property
    def generated_tokens(self) -> int | None:
        """Those of the reasoning included."""
        return _count(self._usage, "completion_tokens")

    @property
    def reasoning_tokens(self) -> int | None:
        details = self._usage.get("completion_tokens_details") or self._usage
        return _count(details, "reasoning_tokens")

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
    return value if isinstance(value, int) and is_figure(value) else None


class _Texts(NamedTuple):
    """What a message's content says."""

    text: str
    reasoning: str


def _texts(content: Any) -> _Texts:
    """Texts of a string or list of parts, some of them the model's reasoning."""
    if isinstance(content, str):
        return _Texts(content, "")
    if isinstance(content, list):
        parts = [_texts(part) for part in content]
        return _Texts(
            "".join(part.text for part in parts), "".join(part.reasoning for part in parts)
        )
    if not isinstance(content, dict):
        return _Texts("", "")
    kind = str(content.get("type", "text"))
    names = ("text", "content", "thinking", "reasoning", "summary")
    found = next((content[name] for name in names if content.get(name)), "")
    whole = "".join(_texts(found))
    is_thought = "think" in kind or "reason" in kind
    return _Texts("", whole) if is_thought else _Texts(whole, "")


def message_of(document: object) -> str:
    """What an error reply says, wherever the server puts it."""
    while isinstance(document, dict):
        for key in ("error", "message", "detail"):
            if document.get(key):
                document = document[key]
                break
        else:
            document = json.dumps(document)
    if isinstance(document, list) and all(isinstance(one, dict) for one in document):
        return "; ".join(map(_validation_error, document))
    return str(document)


def _validation_error(error: Mapping[str, Any]) -> str:
    """One of FastAPI's: where in the request, and what is wrong there."""
    place = error.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where}: {error.get('msg', error)}" if where else str(error.get("msg", error))
