"""Finding a server: its address, its key, its models."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from vlmbench.backends.registry import check, open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request, Response

KEY = "sk-proj-not/for+anyone=0123456789"


def request(id: str = "vqav2@mini/1") -> Request:
    message = Message(role="user", content=("What?",))
    return Request(id=id, image_group="g", messages=(message,), max_new_tokens=7)


def backend(server: Any, **settings: Any) -> Any:
    return open_backend(f"openai:{server.url}#M", **settings)


def ask(server: Any) -> Response:
    response: Response
    (response,) = backend(server).generate([request()])
    return response


def test_the_key_is_sent_and_shown_nowhere(
    server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", f"  {KEY}\n")
    server.script(
        server.refusal(400, f"bad key: Bearer {KEY}"),
        (200, f"{'x' * 280}{KEY}".encode(), {}),  # the cut of a long message falls into it
        server.completion("yes"),
    )
    opened = backend(server, api_key_env="MY_KEY", concurrency=1)
    responses = list(opened.generate(request(str(n)) for n in range(3)))
    assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {KEY}"] * 3
    assert responses[0].error == "ServerError: HTTP 400: bad key: Bearer ***"
    shown = [repr(responses), repr(opened), repr(opened.probe()), repr(vars(opened)["_exchange"])]
    assert "chat/completions" in caplog.text
    assert KEY[:12] not in "".join([*shown, caplog.text])
    server.listing = server.refusal(503, f"loading for {KEY}")
    with pytest.raises(VlmbenchError) as error:
        backend(server, api_key_env="MY_KEY")
    assert str(error.value) == (
        f"the server at {server.url}/v1 is not ready (HTTP 503: loading for ***)"
    )


def test_without_a_key_none_is_sent(server: Any) -> None:
    ask(server)
    assert server.headers[0]["Authorization"] is None


@pytest.mark.parametrize("value", [None, "", "sk-\u00e9", "a\nb"])
def test_a_key_that_was_named_must_be_there_and_whole(
    server: Any, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(VlmbenchError, match="MY_KEY") as error:
        backend(server, api_key_env="MY_KEY")
    assert not value or value not in str(error.value)


def test_a_key_that_is_refused_stops_the_run(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.script(server.completion("yes"), server.refusal(401, "no"))
    responses = backend(server, concurrency=1).generate(request(str(n)) for n in range(9))
    assert next(responses).text == "yes"
    with pytest.raises(VlmbenchError, match=r"refuses the key in OPENAI_API_KEY$"):
        next(responses)


def test_a_server_that_is_down_is_found_at_the_start(server: Any) -> None:
    server.stop()
    with pytest.raises(VlmbenchError, match=f"^no server answers at {server.url}/v1 "):
        backend(server)


@pytest.mark.parametrize(
    ("listing", "error"),
    [
        ((401, b"no", {}), "wants a key: put it in OPENAI_API_KEY"),
        (
            (503, {"error": {"message": "Loading model"}}, {}),
            "is not ready .HTTP 503: Loading model.",
        ),
        ((301, b"", {"Location": "https://x.org/v1"}), "has moved to https://x.org/v1"),
    ],
)
def test_a_server_that_will_not_answer_is_found_at_the_start(
    server: Any, listing: Any, error: str
) -> None:
    server.listing = listing
    with pytest.raises(VlmbenchError, match=error):
        backend(server)


@pytest.mark.parametrize("listing", [(404, b"", {}), (200, b"<html>", {}), (200, {"data": []}, {})])
def test_a_server_that_lists_no_models_is_used(server: Any, listing: Any) -> None:
    server.listing = listing
    assert ask(server).text == "yes"


def test_a_model_that_a_server_of_any_name_lacks_is_refused(server: Any) -> None:
    with pytest.raises(VlmbenchError, match=r"no model named 'MM' at http.*; did you mean M\?"):
        open_backend(f"openai:{server.url}#MM")
    open_backend(f"openai:{server.url}#x")  # an alias
    server.owner = "a provider, which may list less than it has"
    open_backend(f"openai:{server.url}#MM")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/v1"),
        ("/", "/v1"),
        ("/v1", "/v1"),
        ("/v1/", "/v1"),
        ("/api", "/api/v1"),
        ("/v1beta/openai/", "/v1beta/openai"),
    ],
)
def test_the_url_may_come_with_or_without_v1(server: Any, given: str, path: str) -> None:
    server.path = path
    opened = open_backend(f"openai:{server.url}{given}#M")
    assert opened.probe().settings["url"] == server.url + path
    assert [response.text for response in opened.generate([request()])] == ["yes"]


def test_openai_itself_is_asked_in_its_newer_words(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)  # stands for the world
    (response,) = open_backend("openai:http://api.openai.com#M").generate([request()])
    assert response.text == "yes"
    assert server.bodies[0]["max_completion_tokens"] == 7
    assert "max_tokens" not in server.bodies[0]


def test_the_probe_says_what_can_change_an_answer(server: Any) -> None:
    probe = backend(server, temperature=0.5, top_p=0.9, seed=3).probe()
    assert probe.model == "M"
    assert probe.settings == {
        "url": f"{server.url}/v1",
        "server": "vLLM",
        "root": "org/M",
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "transparency": "on white",
    }


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("http://localhost:1", "no model is named for http://localhost:1"),
        ("http://localhost:1#", "no model is named for http://localhost:1"),
        ("localhost:8000#M", "'localhost:8000' is no http:// or https:// URL"),
        ("ftp://localhost#M", "is no http:// or https:// URL"),
        ("http://#M", "is no http:// or https:// URL"),
        ("http://localhost:port#M", "the server's URL is wrong: Invalid port"),
        (f"http://user:{KEY[:8]}@localhost#M", "may hold no user, password or query"),
        (f"http://localhost?key={KEY[:8]}#M", "may hold no user, password or query"),
    ],
)
def test_a_wrong_address_is_refused_before_anything_is_sent(argument: str, error: str) -> None:
    with pytest.raises(VlmbenchError, match=error) as raised:
        check(f"openai:{argument}", {})
    assert KEY[:8] not in str(raised.value)
    assert "\n" not in str(raised.value)
