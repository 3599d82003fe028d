"""Any server of OpenAI's chat-completions API: vLLM, SGLang, llama.cpp, a provider.

The key comes from an environment variable, and is taken out of whatever the server says.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from typing import Literal

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx2

from vlmbench.backends import chat_completions, servers
from vlmbench.backends.chat_completions import Answer, ReplyError, ServerError, UnsupportedError
from vlmbench.backends.servers import Server
from vlmbench.backends.settings import ServerSettings as Settings
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Probe, Request, Response, Timings

FIRST_WAIT_S = 1.0
"""Before the first retry; doubled for each one after it."""

LONGEST_WAIT_S = 120.0
"""A server that asks for a longer wait is asked again after this one."""

MAX_UNREACHABLE = 5
"""Requests in a row that got no connection, with all their retries, until the run is stopped."""

CONNECT_TIMEOUT_S = 10.0

EVENT_STREAM = "text/event-stream"

_FINISH: Mapping[str | None, Literal["stop", "length", "choice"]] = {
    None: "stop",
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
}


def check(argument: str) -> None:
    """Raises: VlmbenchError if the argument is not URL#MODEL."""
    servers.parse(argument)


def open(argument: str, settings: Settings) -> OpenAIBackend:
    """Raises: VlmbenchError if the server cannot be reached, refuses the key or lacks the model."""
    url, model = servers.parse(argument)
    key = servers.key(settings.api_key_env)
    return OpenAIBackend(servers.find(url, model, key, settings), settings, key)


class OpenAIBackend:
    """Keeps `concurrency` requests with the server; their pictures are read no earlier.

    Answers are streamed, to see the first token's time, from servers that can. A failure that may
    pass (429, 5xx, no connection, no answer in time) is retried after a wait that doubles, or that
    the server asks for; any other is the request's error.
    """

    def __init__(self, server: Server, settings: Settings, key: str) -> None:
        self._server, self._settings, self._key = server, settings, key
        self._streams = True
        self._num_unreachable = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Raises: VlmbenchError once the server is gone for good, or refuses the key."""
        waiting = iter(requests)
        answered: SimpleQueue[Future[Response]] = SimpleQueue()
        # a thread for the event loop: it runs on while the caller writes its log, or in a notebook;
        # to leave it by an exception cancels what is in flight
        with (
            anyio.from_thread.start_blocking_portal() as portal,
            portal.wrap_async_context_manager(self._client()) as client,
        ):

            def ask(number: int) -> int:
                """Ask the next requests; how many of that number were left."""
                sent = [
                    portal.start_task_soon(self._answer, client, request)
                    for request in itertools.islice(waiting, number)
                ]
                for future in sent:
                    future.add_done_callback(answered.put)
                return len(sent)

            num_in_flight = ask(self._settings.concurrency)
            while num_in_flight:
                response = answered.get().result()
                num_in_flight -= 1
                is_gone = self._num_unreachable >= MAX_UNREACHABLE
                if not is_gone:  # before the caller has its turn, so that the server has no pause
                    num_in_flight += ask(1)
                yield response
                if is_gone:
                    raise VlmbenchError(
                        f"the server at {self._server.url} is gone: {self._num_unreachable} "
                        "requests in a row got no connection; start it again, then resume"
                    )

    def probe(self) -> Probe:
        server, settings = self._server, self._settings
        return Probe(
            model=server.model,
            settings={
                "url": server.url,
                "server": server.dialect.name,
                "root": server.root,
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "seed": settings.seed,
            },
        )

    def close(self) -> None:
        pass  # a connection lasts no longer than `generate`

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            headers={**servers.headers(self._key), "Content-Type": "application/json"},
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),  # `_answer` limits the whole
            limits=httpx2.Limits(max_connections=self._settings.concurrency),
        )

    async def _answer(self, client: httpx2.AsyncClient, request: Request) -> Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                with anyio.fail_after(self._settings.timeout_s):
                    return await self._attempt(client, request, attempt)
            except TimeoutError:
                limit = f"no answer within {self._settings.timeout_s:g} s"
                failure = ServerError(limit, may_pass=True)
            except httpx2.RequestError as error:
                reason = f"no connection ({type(error).__name__}: {error})"
                failure = ServerError(reason, may_pass=True, is_unreachable=True)
            except ServerError as error:
                failure = error
            except (UnsupportedError, ReplyError, ValueError, OSError) as error:
                return self._failed(request, error, attempt)
            if not failure.may_pass or attempt > self._settings.max_retries:
                self._num_unreachable += failure.is_unreachable
                return self._failed(request, failure, attempt)
            await anyio.sleep(wait_s(attempt, failure.retry_after, datetime.now(UTC)))

    async def _attempt(
        self, client: httpx2.AsyncClient, request: Request, attempt: int
    ) -> Response:
        started = time.perf_counter()
        streams = self._streams and not request.candidates
        content = await anyio.to_thread.run_sync(self._body, request, streams)
        sent = time.perf_counter()
        answer = Answer()
        text_times: list[float] = []
        url = f"{self._server.url}/chat/completions"
        async with client.stream("POST", url, content=content) as reply:
            self._num_unreachable = 0
            if reply.status_code != 200:
                refusal = await self._refusal(reply)
                if (
                    streams
                    and reply.status_code in (400, 422)
                    and re.search(r"\bstream", str(refusal))
                ):
                    self._streams = False
                    return await self._attempt(client, request, attempt)
                raise refusal
            is_stream = reply.headers.get("content-type", "").startswith(EVENT_STREAM)
            async for document in _documents(reply):
                if answer.add(document):
                    text_times.append(time.perf_counter())
        if is_stream and answer.finish_reason is None:
            raise ServerError("the answer broke off", may_pass=True)
        timings = Timings(
            preprocess_s=sent - started,
            first_token_s=text_times[0] - started if is_stream and text_times else None,
            decode_s=text_times[-1] - text_times[0] if is_stream and text_times else None,
            total_s=time.perf_counter() - started,
        )
        return _response(request, answer, timings, attempt)

    def _body(self, request: Request, streams: bool) -> bytes:
        server = self._server
        return chat_completions.body(
            request, server.model, self._settings, server.dialect, stream=streams
        )

    async def _refusal(self, reply: httpx2.Response) -> ServerError:
        """The error that a reply stands for; raises VlmbenchError if the key is refused."""
        await reply.aread()
        if reply.status_code == 401:
            raise servers.refused(self._server.url, self._key, self._settings.api_key_env)
        return ServerError(
            servers.refusal(reply),
            may_pass=chat_completions.may_pass(reply.status_code),
            retry_after=reply.headers.get("retry-after"),
        )

    def _failed(self, request: Request, error: Exception, attempt: int) -> Response:
        reason = servers.brief(f"{type(error).__name__}: {error}", self._key)
        return Response(
            id=request.id, text=None, finish_reason="error", error=reason, attempt=attempt
        )


async def _documents(reply: httpx2.Response) -> AsyncIterator[object]:
    """The JSON of a reply: one document, or the events of a stream."""
    if not reply.headers.get("content-type", "").startswith(EVENT_STREAM):
        yield _json(await reply.aread())
        return
    async for event in httpx2.EventSource(reply):
        if event.data != "[DONE]":
            yield _json(event.data)


def _json(text: str | bytes) -> object:
    try:
        document: object = json.loads(text)
    except ValueError:
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        raise ReplyError(f"the reply is not JSON: {shown}") from None
    return document


def _response(request: Request, answer: Answer, timings: Timings, attempt: int) -> Response:
    """Raises: ReplyError, UnsupportedError if the reply has no answer to the request."""
    if not answer.has_choice:
        raise ReplyError("the reply has no choices")
    text, finish_reason = answer.text, _FINISH.get(answer.finish_reason)
    if request.candidates:
        text, finish_reason = answer.best(request.candidates), "choice"
    if finish_reason is None:
        raise ReplyError(f"the server ended the answer by {answer.finish_reason!r}")
    return Response(
        id=request.id,
        text=text,
        finish_reason=finish_reason,
        visual_tokens=answer.visual_tokens,
        prompt_tokens=answer.prompt_tokens,
        generated_tokens=answer.generated_tokens,
        timings=timings,
        attempt=attempt,
    )


def wait_s(attempt: int, retry_after: str | None, now: datetime) -> float:
    """Seconds from a failed attempt (the first is 1) to the next; the same in every run.

    `retry_after`: the server's header, seconds or a date; one that is neither counts as absent.
    """
    doubled = FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30)
    return min(max(doubled, _asked_wait_s(retry_after or "", now)), LONGEST_WAIT_S)


def _asked_wait_s(retry_after: str, now: datetime) -> float:
    try:
        seconds = float(retry_after)
        return seconds if math.isfinite(seconds) else 0.0
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return float((date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
