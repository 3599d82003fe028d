"""One request to one server: sent, sent again where the server refuses a field, and read."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import anyio.to_thread
import httpx2

from vlmbench.backends import chat_completions, servers
from vlmbench.backends.notices import Notices
from vlmbench.backends.reading import areceived, document, events
from vlmbench.backends.replicas import Replica
from vlmbench.backends.replies import Answer, ReplyError, ServerError, may_pass
from vlmbench.backends.settings import ServerSettings as Settings
from vlmbench.backends.stop_strings import cut
from vlmbench.schema import Request, Response, Timings

EVENT_STREAM = "text/event-stream"

MAX_SHOWN = 10_000
"""Characters of a reply that a message is made of."""

ABOUT_FIELDS = (400, 422, 500, 501)
"""HTTP statuses that servers give for a field that they do not take."""

LEARNT: Mapping[str, str] = {
    "temperature": "it is left out, so answers are drawn as the server pleases and may differ "
    "from run to run",
    "seed": "it is left out, so answers may differ from run to run",
    "stream": "answers come in one piece, so there is no time of the first token",
    "stream_options": "they are left out, so tokens may go uncounted",
    "max_tokens": "it is sent as max_completion_tokens",
    "max_completion_tokens": "they are sent as max_tokens",
}
"""Field that a server refuses to what follows from it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """How all requests of a run are sent."""

    settings: Settings
    key: str = field(repr=False)
    notices: Notices
    reached: Callable[[], None]
    """Is called when a server replies, if only by an error."""

    async def __call__(
        self, client: httpx2.AsyncClient, replica: Replica, request: Request
    ) -> Response:
        """The server's answer.

        Raises: ServerError where it gives none; ReplyError, UnsupportedError, ValueError, OSError
        where it cannot; VlmbenchError if it refuses the key.
        """
        started = time.perf_counter()
        server = replica.server
        write = partial(chat_completions.fields, stream=not request.candidates)
        fields = await anyio.to_thread.run_sync(
            write, request, server.model, self.settings, server.dialect
        )
        while True:
            sent = replica.terms.apply(fields)
            try:
                return await self._send(client, replica, request, sent, started)
            except ServerError as error:
                name = replica.terms.learn(error.said, sent) if error.said else ""
                if not name:
                    raise
                said = servers.brief(str(error), self.key)
                self.notices.tell(f"{server.url} refuses {name} ({said}): {LEARNT[name]}")

    async def _send(
        self,
        client: httpx2.AsyncClient,
        replica: Replica,
        request: Request,
        fields: Mapping[str, Any],
        started: float,
    ) -> Response:
        content = await anyio.to_thread.run_sync(_encoded, fields)
        sent = time.perf_counter()
        answer = Answer()
        text_times: list[float] = []
        ended_at = 0.0
        url = f"{replica.server.url}/chat/completions"
        async with client.stream("POST", url, content=content) as reply:
            self.reached()
            if reply.status_code != 200:
                raise await self._refusal(replica, reply)
            is_stream = reply.headers.get("content-type", "").startswith(EVENT_STREAM)
            async for document in _documents(reply):
                if document is None:
                    answer.is_whole = True
                elif answer.add(document):
                    text_times.append(time.perf_counter())
                if answer.is_whole and not ended_at:
                    ended_at = time.perf_counter()
        if is_stream and not answer.is_whole:
            raise ServerError("the answer broke off", may_pass=True)
        timings = Timings(
            preprocess_s=sent - started,
            first_token_s=text_times[0] - started if is_stream and text_times else None,
            decode_s=ended_at - text_times[0] if is_stream and text_times else None,
            total_s=time.perf_counter() - started,
        )
        return _response(request, answer, timings)

    async def _refusal(self, replica: Replica, reply: httpx2.Response) -> ServerError:
        """The error that a reply stands for; raises VlmbenchError if the key is refused."""
        read = await areceived(reply)
        if servers.refuses_key(read):
            raise servers.refused(replica.server.url, self.key, self.settings.api_key_env)
        return ServerError(
            servers.refusal(read),
            may_pass=may_pass(read.status_code),
            retry_after=read.headers.get("retry-after"),
            said=servers.said(read) if read.status_code in ABOUT_FIELDS else None,
        )


def _encoded(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields).encode()


async def _documents(reply: httpx2.Response) -> AsyncIterator[object]:
    """The JSON of a reply: one document, or a stream's events; None where a stream says its end."""
    if not reply.headers.get("content-type", "").startswith(EVENT_STREAM):
        yield _json((await areceived(reply)).content)
        return
    async for data in events(reply):
        yield None if data.strip() == "[DONE]" else _json(data)


def _json(text: str | bytes) -> object:
    try:
        found = document(text)
    except ValueError:
        shown = text[:MAX_SHOWN]
        shown = shown if isinstance(shown, str) else shown.decode(errors="replace")
        raise ReplyError(f"the reply is not JSON: {shown}") from None
    if found is None:
        raise ReplyError("not a chat completion: null")
    return found


def _response(request: Request, answer: Answer, timings: Timings) -> Response:
    """Raises: ReplyError, UnsupportedError if the reply has no answer to the request."""
    if not answer.has_choice:
        raise ReplyError("the reply has no choices")
    finish_reason: Literal["stop", "length", "choice"] = "choice"
    if request.candidates:
        text = answer.best(request.candidates)
    else:
        text, is_stopped = cut(answer.text, request.stop)
        finish_reason = "stop" if is_stopped else answer.finish_reason
    return Response(
        id=request.id,
        text=text,
        finish_reason=finish_reason,
        visual_tokens=answer.visual_tokens,
        prompt_tokens=answer.prompt_tokens,
        generated_tokens=answer.generated_tokens,
        timings=timings,
        reasoning=answer.reasoning,
        reasoning_tokens=answer.reasoning_tokens,
    )
