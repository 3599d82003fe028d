"""Any server of OpenAI's chat-completions API: vLLM, SGLang, llama.cpp, a provider.

The key comes from an environment variable, and is taken out of whatever the server says.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from typing import TypeAlias

import anyio
import anyio.from_thread
import httpx2

from vlmbench.backends import chat_completions, connections, servers
from vlmbench.backends.exchange import Exchange
from vlmbench.backends.notices import Notices
from vlmbench.backends.replicas import Replica, Replicas
from vlmbench.backends.replies import ServerError
from vlmbench.backends.servers import Server
from vlmbench.backends.settings import ServerSettings as Settings
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Probe, Request, Response

FIRST_WAIT_S = 1.0
"""Wait before the first retry; doubled for each after."""

LONGEST_WAIT_S = 120.0
"""A server that asks for a longer wait is asked again after this one."""

MAX_UNREACHABLE = 5
"""Requests in a row that got no connection, with all their retries, until the run is stopped."""

MORE_TOKENS = 2
"""Factor of the tokens allowed each time that a cut-off answer is asked for again."""

REMEMBERS = True
"""A server keeps prefixes and pictures of what it was asked: its latency is measured first."""

Clients: TypeAlias = Mapping[str, httpx2.AsyncClient]
"""Clients by server URL."""


def check(argument: str) -> None:
    """Raises: VlmbenchError if the argument is not URL#MODEL, or URL,URL,...#MODEL."""
    servers.parse(argument)


def identity(argument: str, settings: Settings) -> Mapping[str, Json]:
    """What must be equal for a run to be resumed: what is asked beside the prompt, where it is."""
    names = ("extra_body", "system", "max_side", "retry_truncated")
    given = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in given.items() if value}


def open(argument: str, settings: Settings) -> OpenAIBackend:
    """Raises: VlmbenchError if the server cannot be reached, refuses the key or lacks the model."""
    address, notices = servers.parse(argument), Notices()
    key = servers.key(settings.api_key_env)
    for name in settings.extra_body or {}:
        if name in chat_completions.OWN_FIELDS:
            raise VlmbenchError(f"extra_body may not hold {name!r}, which the run itself says")
    return OpenAIBackend(servers.find(address, key, settings, notices), settings, key, notices)


class OpenAIBackend:
    """Keeps `concurrency` requests with each server; their pictures are read no earlier.

    Answers are streamed, to see the first token's time, from servers that can. A failure that may
    pass (429, 5xx, no connection, no answer in time) is retried after a wait that doubles, or that
    the server asks for, and of several servers with another one; any other is the request's error.
    """

    def __init__(self, found: list[Server], settings: Settings, key: str, notices: Notices) -> None:
        self._replicas = Replicas(found, settings.concurrency)
        self._model, self._settings, self._key = found[0].model, settings, key
        self._notices = notices
        self._exchange = Exchange(settings, key, notices, self._reached)
        self._num_unreachable = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Raises: VlmbenchError once the servers are gone for good, or refuse the key."""
        waiting = iter(requests)
        answered: SimpleQueue[Future[Response]] = SimpleQueue()
        # a thread for the event loop: it runs on while the caller writes its log, or in a notebook;
        # to leave it by an exception cancels what is in flight
        with (
            anyio.from_thread.start_blocking_portal() as portal,
            portal.wrap_async_context_manager(self._clients()) as clients,
        ):

            def ask(number: int) -> int:
                """Ask the next requests; how many of that number were left."""
                sent = [
                    portal.start_task_soon(self._answer, clients, request)
                    for request in itertools.islice(waiting, number)
                ]
                for future in sent:
                    future.add_done_callback(answered.put)
                return len(sent)

            num_in_flight = ask(self._settings.concurrency * len(self._replicas))
            while num_in_flight:
                response = answered.get().result()
                num_in_flight -= 1
                self._look_at(response)
                is_gone = self._num_unreachable >= MAX_UNREACHABLE
                if not is_gone:  # before the caller has its turn, so that the server has no pause
                    num_in_flight += ask(1)
                yield response
                if is_gone:
                    raise VlmbenchError(
                        f"the server at {self._urls()} is gone: {self._num_unreachable} "
                        "requests in a row got no connection; start it again, then resume"
                    )

    def one_by_one(self, requests: Iterable[Request]) -> Iterator[Response]:
        """`Backend.one_by_one`, on connections that are kept, as a client has them."""
        with (
            anyio.from_thread.start_blocking_portal() as portal,
            portal.wrap_async_context_manager(self._clients()) as clients,
        ):
            for request in requests:
                yield portal.call(self._answer, clients, request)

    def probe(self) -> Probe:
        settings, first = self._settings, next(iter(self._replicas))
        asked: dict[str, Json] = {
            "url": self._urls(),
            "server": first.server.dialect.name,
            "root": first.server.root,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": settings.seed,
            "transparency": "on white",
        }
        names = ("extra_body", "system", "max_side", "retry_truncated")
        given = {name: getattr(settings, name) for name in names if getattr(settings, name)}
        left_out = {name for replica in self._replicas for name in replica.terms.left_out}
        renamed = {
            old: new for replica in self._replicas for old, new in replica.terms.renamed.items()
        }
        learnt: dict[str, Json] = {"left_out": sorted(left_out), "renamed": renamed}
        networks = {connections.network_to(replica.server.url): None for replica in self._replicas}
        return Probe(
            model=self._model,
            network=",".join(networks),
            settings=asked | given | {name: value for name, value in learnt.items() if value},
            notices=self._notices.lines,
        )

    def close(self) -> None:
        pass  # a connection lasts no longer than `generate`

    def _look_at(self, response: Response) -> None:
        """Tell of an answer that the model's reasoning has left empty."""
        if response.text is None or response.text.strip() or not response.reasoning:
            return
        if response.finish_reason == "length":
            self._notices.tell(
                "the model reasons until its tokens are used up, and then gives no answer: allow "
                "more by --max-new-tokens or --retry-truncated"
            )
        else:
            self._notices.tell(
                "the server gives reasoning with no answer: see `reasoning` in the log, and "
                "whether its reasoning parser is the model's"
            )

    def _urls(self) -> str:
        return ",".join(replica.server.url for replica in self._replicas)

    @asynccontextmanager
    async def _clients(self) -> AsyncIterator[Clients]:
        async with AsyncExitStack() as stack:
            clients = {}
            for replica in self._replicas:
                url = replica.server.url
                client = connections.async_client(url, self._key, self._settings.concurrency)
                clients[url] = await stack.enter_async_context(client)
            yield clients

    async def _answer(self, clients: Clients, request: Request) -> Response:
        """The answer, asked for again with more tokens while it is cut off and that is wanted."""
        response = await self._retried(clients, request)
        limit = request.max_new_tokens
        for _ in range(self._settings.retry_truncated):
            if response.finish_reason != "length":
                break
            limit *= MORE_TOKENS
            longer = await self._retried(clients, replace(request, max_new_tokens=limit))
            if longer.text is None:  # the context has no room for so many
                break
            num_attempts = response.attempt + longer.attempt
            response = replace(longer, attempt=num_attempts, token_limit=limit)
        return response

    async def _retried(self, clients: Clients, request: Request) -> Response:
        """The answer, or the failure that is left after all retries."""
        attempt, num_spare = 0, len(self._replicas) - 1
        failed: list[Replica] = []
        while True:
            attempt += 1
            replica = await self._replicas.take(failed)
            try:
                with anyio.fail_after(self._settings.timeout_s):
                    response = await self._exchange(clients[replica.server.url], replica, request)
                self._replicas.succeeded(replica)
                return replace(response, attempt=attempt)
            except TimeoutError:
                limit = f"no answer within {self._settings.timeout_s:g} s"
                failure = ServerError(limit, may_pass=True)
            except httpx2.RequestError as error:
                reason = f"no connection ({type(error).__name__}: {error})"
                failure = ServerError(reason, may_pass=True, is_unreachable=True)
            except ServerError as error:
                failure = error
            except VlmbenchError:
                raise
            except Exception as error:  # the sample boundary
                return self._failed(request, error, attempt)
            finally:
                self._replicas.give_back(replica)
            if not failure.may_pass or attempt > self._settings.max_retries + num_spare:
                self._num_unreachable += failure.is_unreachable
                return self._failed(request, failure, attempt)
            failed.append(replica)
            await self._pause(replica, failure, attempt)

    def _reached(self) -> None:
        self._num_unreachable = 0

    async def _pause(self, replica: Replica, failure: ServerError, attempt: int) -> None:
        """Wait before the next attempt; of several servers only the one that failed waits."""
        now = datetime.now(UTC)
        if len(self._replicas) == 1:
            await anyio.sleep(wait_s(attempt, failure.retry_after, now))
            return
        seconds = wait_s(replica.num_failures + 1, failure.retry_after, now)
        self._replicas.rest(replica, seconds)
        reason = servers.brief(str(failure), self._key)
        self._notices.tell(
            f"the server at {replica.server.url} failed ({reason}); its requests go to the others"
        )

    def _failed(self, request: Request, error: Exception, attempt: int) -> Response:
        reason = servers.brief(f"{type(error).__name__}: {error}", self._key)
        return Response(
            id=request.id, text=None, finish_reason="error", error=reason, attempt=attempt
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
        return float((date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
