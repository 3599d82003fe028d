"""Several servers of one model: all are asked, and none that is lost takes answers with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vlmbench.backends.registry import check, open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request


def requests(number: int) -> list[Request]:
    message = Message(role="user", content=("What?",))
    return [
        Request(id=f"t/{n}", image_group="g", messages=(message,), max_new_tokens=7)
        for n in range(number)
    ]


@pytest.fixture
def two(server: Any) -> Iterator[list[Any]]:
    """Two servers on this machine."""
    other = type(server)()
    yield [server, other]
    other.stop()


def replicas(servers: list[Any], **settings: Any) -> Any:
    urls = ",".join(server.url for server in servers)
    return open_backend(f"openai:{urls}#M", **settings)


def test_all_replicas_are_asked_at_once(two: list[Any]) -> None:
    both = threading.Barrier(4, timeout=5)

    def reply(body: dict[str, Any]) -> Any:
        both.wait()  # breaks, unless both have their two requests
        return two[0].completion("yes")

    for server in two:
        server.reply = reply
    responses = list(replicas(two, concurrency=2).generate(requests(12)))
    assert [response.text for response in responses] == ["yes"] * 12
    assert [server.most_at_work for server in two] == [2, 2]


def test_a_slow_replica_is_asked_less(two: list[Any]) -> None:
    fast, slow = two
    slow.reply = slow.hang
    responses = replicas(two, concurrency=1).generate(requests(9))
    assert [next(responses).text for _ in range(8)] == ["yes"] * 8
    responses.close()
    assert (len(fast.bodies), len(slow.bodies)) == (8, 1)


LOST: list[Any] = [
    pytest.param(lambda body: (None, b"", {}), id="it hangs up"),
    pytest.param(lambda body: (500, b"EngineCore died", {}), id="its engine died"),
    pytest.param(lambda body: (503, b"busy", {"Retry-After": "60"}), id="it is busy"),
]


@pytest.mark.parametrize("lost", LOST)
def test_a_replica_that_is_lost_loses_no_answer(
    two: list[Any], capsys: pytest.CaptureFixture[str], lost: Callable[..., Any]
) -> None:
    good, bad = two
    bad.reply = lambda body: lost(body) if len(bad.bodies) > 3 else bad.completion("yes")
    backend = replicas(two, concurrency=2, max_retries=0)
    assert [response.text for response in backend.generate(requests(40))] == ["yes"] * 40
    assert f"{bad.url}/v1 failed" in capsys.readouterr().err
    assert len(good.bodies) > 20


def test_a_replica_that_is_down_at_the_start_is_told_and_done_without(
    two: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = two
    bad.stop()
    backend = replicas(two)
    assert f"no server answers at {bad.url}/v1" in capsys.readouterr().err
    assert [response.text for response in backend.generate(requests(6))] == ["yes"] * 6
    assert backend.probe().settings["url"] == f"{good.url}/v1,{bad.url}/v1"


def test_that_all_replicas_are_down_is_found_at_the_start(two: list[Any]) -> None:
    for server in two:
        server.stop()
    with pytest.raises(VlmbenchError, match="no server answers at"):
        replicas(two)


def test_replicas_that_are_all_lost_stop_the_run(two: list[Any]) -> None:
    for server in two:
        server.reply = lambda body: (None, b"", {})
    with pytest.raises(VlmbenchError, match="is gone: 5 requests in a row got no connection"):
        list(replicas(two, concurrency=1, max_retries=1).generate(requests(40)))


def test_every_url_of_several_is_checked() -> None:
    with pytest.raises(VlmbenchError, match="'here' is no http:// or https:// URL"):
        check("openai:http://localhost:1,here#M", {})
