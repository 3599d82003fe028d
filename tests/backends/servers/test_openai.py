"""The backend for servers, against a real one on this machine that misbehaves as told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from vlmbench.backends.openai import wait_s
from vlmbench.backends.protocol import Backend
from vlmbench.backends.registry import open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Picture, Request, Response

EVENTS = {"Content-Type": "text/event-stream"}


class BrokenPicture(Picture):
    def encoded(self) -> bytes:
        return b"no picture"

    def decode(self) -> Any:
        raise ValueError("the picture cannot be decoded")


def request(id: str = "vqav2@mini/1", *content: Any) -> Request:
    message = Message(role="user", content=content or ("What?",))
    return Request(id=id, image_group="g", messages=(message,), max_new_tokens=7)


def backend(server: Any, **settings: Any) -> Backend:
    return open_backend(f"openai:{server.url}#M", **settings)


def ask(server: Any, **settings: Any) -> Response:
    (response,) = backend(server, **settings).generate([request()])
    return response


def test_a_picture_that_cannot_be_read_fails_its_request_alone(server: Any) -> None:
    asked = [request("bad", BrokenPicture(), "?"), request("good")]
    responses = {r.id: r for r in backend(server).generate(asked)}
    assert responses["bad"].error == "ValueError: the picture cannot be decoded"
    assert responses["good"].text == "yes"
    assert len(server.bodies) == 1


def test_a_server_that_does_not_stream_is_asked_without(server: Any) -> None:
    def reply(body: dict[str, Any]) -> Any:
        return (
            server.refusal(400, "stream is not supported")
            if "stream" in body
            else server.completion("ok")
        )

    server.reply = reply
    responses = list(backend(server, concurrency=2).generate([request(str(n)) for n in range(6)]))
    assert {(r.text, r.attempt) for r in responses} == {("ok", 1)}
    assert sum("stream" in body for body in server.bodies) <= 2
    assert responses[0].timings.first_token_s is None


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param((500, {"error": {"message": "oops"}}, {}), id="500"),
        pytest.param((503, b"busy", {}), id="503"),
        pytest.param((429, {"detail": "slow down"}, {}), id="429"),
        pytest.param((None, b"", {}), id="hung up"),
        pytest.param((200, b'{"ch', {"Content-Length": "99"}), id="cut off"),
        pytest.param((200, b'data: {"choices": [{}]}\n\n', EVENTS), id="a stream without its end"),
        pytest.param((200, b'data: {"error": {"code": 500}}\n\n', EVENTS), id="500 in a stream"),
    ],
)
def test_what_may_pass_is_tried_again(server: Any, reply: Any) -> None:
    status, content, headers = reply
    server.script((status, content, {**headers, "Connection": "close"}), server.completion("yes"))
    response = ask(server)
    assert (response.text, response.attempt, response.error) == ("yes", 2, "")


def test_retries_are_bounded(server: Any) -> None:
    server.reply = lambda body: server.refusal(503, "busy")
    response = ask(server, max_retries=2)
    assert (response.error, response.attempt) == ("ServerError: HTTP 503: busy", 3)
    assert len(server.bodies) == 3


def test_a_server_that_does_not_answer_in_time_is_given_up(server: Any) -> None:
    server.reply = server.hang
    started = time.monotonic()
    response = ask(server, timeout_s=0.05, max_retries=1)
    assert time.monotonic() - started < 2
    assert (response.error, response.attempt) == ("ServerError: no answer within 0.05 s", 2)


def test_retry_after_is_waited_for(server: Any) -> None:
    server.script(server.refusal(429, "slow down", Retry_After="0.05"), server.completion("yes"))
    assert ask(server).attempt == 2
    assert server.times[1] - server.times[0] >= 0.05


@pytest.mark.parametrize(
    ("attempt", "retry_after", "seconds"),
    [
        (1, None, 1),
        (2, None, 2),
        (5, None, 16),
        (5000, None, 120),
        (1, "7", 7),
        (4, "7", 8),
        (1, "9999", 120),
        (1, "Wed, 21 Oct 2015 07:28:30 GMT", 30),
        (1, "Wed, 21 Oct 2015 09:28:30 +0200", 30),
        (1, "Wed, 21 Oct 2015 07:27:00 GMT", 1),
        (1, "soon", 1),
        (1, "nan", 1),
        (1, "-5", 1),
        (1, "inf", 1),
    ],
)
def test_the_wait_doubles_or_is_the_servers(
    attempt: int, retry_after: str | None, seconds: float
) -> None:
    now = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
    assert wait_s(attempt, retry_after, now) == seconds


def test_concurrency_is_reached_and_not_passed(server: Any) -> None:
    three = threading.Barrier(3, timeout=5)

    def reply(body: dict[str, Any]) -> Any:
        three.wait()  # breaks, if fewer are sent at once
        return server.completion(body["messages"][0]["content"])

    server.reply = reply
    asked = [request(str(n), f"echo {n}") for n in range(12)]
    responses = list(backend(server, concurrency=3).generate(asked))
    assert {(r.id, r.text) for r in responses} == {(str(n), f"echo {n}") for n in range(12)}
    assert server.most_at_work == 3


def test_requests_are_read_only_as_far_as_they_are_sent(server: Any) -> None:
    num_read = 0

    def asked() -> Iterator[Request]:
        nonlocal num_read
        for num_read in range(1, 1001):
            yield request(str(num_read))

    responses = backend(server, concurrency=4).generate(asked())
    assert num_read == 0
    for num_answered in range(1, 20):
        next(responses)
        assert num_read <= num_answered + 4
    responses.close()  # type: ignore[attr-defined]
    assert num_read < 30


def test_a_response_does_not_wait_for_slower_ones(server: Any) -> None:
    server.reply = lambda body: (
        server.hang(body) if "slow" in body["messages"][0]["content"] else server.completion("fast")
    )
    asked = [request("1", "slow"), *(request(str(n), "quick") for n in range(2, 9))]
    responses = backend(server, concurrency=2).generate(asked)
    assert [next(responses).text for _ in range(7)] == ["fast"] * 7
    started = time.monotonic()
    responses.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 2, "stopping waits for a request in flight"


def test_it_works_where_an_event_loop_runs_already(server: Any) -> None:
    async def notebook() -> Response:
        return ask(server)

    assert asyncio.run(notebook()).text == "yes"


def test_a_server_that_dies_stops_the_run_after_a_few_errors(server: Any) -> None:
    num_read = 0

    def asked() -> Iterator[Request]:
        nonlocal num_read
        for num_read in range(1, 1001):
            yield request(str(num_read))

    server.reply = lambda body: (
        (None, b"", {}) if len(server.bodies) > 3 else server.completion("yes")
    )
    responses = []
    with pytest.raises(VlmbenchError, match=f"the server at {server.url}/v1 is gone: 5 requests"):
        for response in backend(server, concurrency=1, max_retries=1).generate(asked()):
            responses.append(response)
    assert [r.text for r in responses] == ["yes"] * 3 + [None] * 5
    assert responses[-1].error.startswith("ServerError: no connection (RemoteProtocolError")
    assert num_read == 8


def test_a_single_connection_that_breaks_now_and_then_does_not_stop_the_run(
    server: Any,
) -> None:
    server.reply = lambda body: (
        (None, b"", {}) if len(server.bodies) % 4 else server.completion("yes")
    )
    responses = list(
        backend(server, concurrency=1, max_retries=0).generate(request(str(n)) for n in range(40))
    )
    assert sum(r.text == "yes" for r in responses) == 10
