"""Proxies and certificates of the environment: used, left out on this machine, or told as wrong."""

from __future__ import annotations

from typing import Any

import pytest

from vlmbench.backends import connections
from vlmbench.backends.registry import open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request

AWAY = "http://server.test:8000#M"

REQUEST = Request(
    id="t/1",
    image_group="g",
    messages=(Message(role="user", content=("What?",)),),
    max_new_tokens=7,
)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "htp://x"])
def test_a_server_on_this_machine_is_asked_without_a_proxy(
    server: Any, monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    (response,) = open_backend(f"openai:{server.url}#M").generate([REQUEST])
    assert response.text == "yes"


@pytest.mark.parametrize(
    ("proxy", "error"),
    [
        ("socks5://127.0.0.1:9", "needs the package socksio .pip install 'httpx2.socks.'."),
        ("htp://x", "the proxy in ALL_PROXY cannot be used: "),
        ("http://127.0.0.1:9", "through the proxy in ALL_PROXY, which NO_PROXY=server.test leaves"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line(
    server: Any, monkeypatch: pytest.MonkeyPatch, proxy: str, error: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    if proxy.startswith("socks"):
        monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    with pytest.raises(VlmbenchError, match=error) as raised:
        open_backend(f"openai:{AWAY}")
    assert "\n" not in str(raised.value)


def test_a_host_in_no_proxy_needs_no_proxy_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "htp://x")
    monkeypatch.setenv("NO_PROXY", "server.test")
    connections.client("http://server.test:8000", "", 1.0).close()
    assert connections.proxy_of("http://server.test:8000") == ""


@pytest.mark.parametrize("variable", connections.CERTIFICATES)
def test_certificates_that_are_not_there_are_named(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/nowhere/at.pem")

    def missing(**options: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("httpx2.HTTPTransport", missing)
    monkeypatch.setattr("httpx2.Client", missing)
    with pytest.raises(VlmbenchError, match=f"{variable} names /nowhere/at.pem, which is not"):
        open_backend("openai:https://server.test#M")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "no"),
        (500, "Authentication Error, No api key passed in."),
        (400, "Authentication Error, Invalid proxy server token passed."),
        (403, "Invalid API key provided"),
    ],
)
def test_a_missing_key_is_known_by_its_words_too(server: Any, status: int, message: str) -> None:
    server.listing = server.refusal(status, message)
    with pytest.raises(VlmbenchError, match="wants a key: put it in OPENAI_API_KEY"):
        open_backend(f"openai:{server.url}#M")


def test_the_endpoint_may_stand_in_the_url(server: Any) -> None:
    backend = open_backend(f"openai:{server.url}/v1/chat/completions#M")
    assert backend.probe().settings["url"] == f"{server.url}/v1"
