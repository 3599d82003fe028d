"""Servers that mean harm: a failed record each, a bounded size, and never an exception."""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlmbench.backends import reading, servers
from vlmbench.backends.openai import check, wait_s
from vlmbench.backends.registry import open_backend
from vlmbench.backends.replies import Answer, ReplyError, ServerError
from vlmbench.errors import VlmbenchError
from vlmbench.files import MOST
from vlmbench.schema import Message, Request, Response

EVENTS = {"Content-Type": "text/event-stream"}
MESSAGE = {"content": "yes"}
DEEP = b"[" * 200_000


def ask(server: Any, **given: Any) -> Response:
    message = Message(role="user", content=("What?",))
    asked = Request(id="t/1", image_group="g", messages=(message,), max_new_tokens=7)
    backend = open_backend(f"openai:{server.url}#M", max_retries=0, **given)
    (response,) = backend.generate([asked])
    return response


def completion(**fields: Any) -> bytes:
    choice = {"message": MESSAGE, "finish_reason": "stop"} | fields
    return json.dumps({"choices": [choice]}).encode()


def zeros(num_bytes: int) -> bytes:
    return b'{"choices": [{"message": {"content": "' + b"0" * num_bytes + b'"}}]}'


HUGE = zeros(2 << 20)

FAILED = [
    pytest.param(200, DEEP, {}, "nested too deeply|not JSON", id="nested"),
    pytest.param(400, DEEP, {}, "HTTP 400", id="nested error"),
    pytest.param(200, b"data: " + DEEP + b"\n\n", EVENTS, "not JSON", id="nested event"),
    pytest.param(200, b'{"choices":' + b"9" * 5000 + b"}", {}, "not JSON", id="digits"),
    pytest.param(200, HUGE, {}, "more than 1 MiB", id="large"),
    pytest.param(400, HUGE, {}, "more than 1 MiB", id="large error"),
    pytest.param(200, b"data: " + HUGE, EVENTS, "more than 1 MiB", id="endless line"),
    pytest.param(
        200, b'data: {"choices": [{"delta": {}}]}\n\n' * 40_000, EVENTS, "more than 1", id="endless"
    ),
    pytest.param(
        200, gzip.compress(HUGE), {"Content-Encoding": "gzip"}, "more than 1 MiB", id="gzip bomb"
    ),
    pytest.param(
        200, zlib.compress(HUGE), {"Content-Encoding": "deflate"}, "more than 1 MiB", id="deflate"
    ),
    pytest.param(200, b"x", {"Content-Encoding": "gzip"}, "", id="no gzip"),
    pytest.param(200, b"x", {"Content-Encoding": "zstd, br"}, "not asked for", id="other coding"),
    pytest.param(200, completion(finish_reason=[1]), {}, "finish reason", id="finish list"),
    pytest.param(200, completion(finish_reason={"a": 1}), {}, "finish reason", id="finish object"),
    pytest.param(200, completion(finish_reason=7), {}, "finish reason", id="finish number"),
    pytest.param(302, b"", {}, "HTTP 302", id="redirect without a place"),
    pytest.param(302, b"", {"Location": "http://127.0.0.1:9/x"}, "HTTP 302", id="redirect"),
    pytest.param(400, b"abc", {"Content-Type": "text/plain; charset=rot13"}, "abc", id="rot13"),
    pytest.param(400, b"\xff\xfe", {"Content-Type": "text/plain; charset=utf-7"}, "", id="utf-7"),
    pytest.param(400, b"<" * 100_000, {}, "HTTP 400", id="page of tags"),
    pytest.param(400, b"<html>" + b"<head" * 20_000, {}, "HTTP 400", id="page of heads"),
    *(
        pytest.param(503, b"x", {"Retry-After": text}, "HTTP 503", id=text)
        for text in ("1e999", "nan", "-5", "1 Jan 99999999 00:00:00", "soon", "\u00b2")
    ),
]


@pytest.mark.parametrize(("status", "content", "headers", "message"), FAILED)
def test_a_hostile_reply_is_a_failed_record(
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    content: bytes,
    headers: dict[str, str],
    message: str,
) -> None:
    import re

    monkeypatch.setattr(reading, "MAX_BYTES", 1 << 20)
    server.reply = lambda body: (status, content, headers)
    response = ask(server)
    assert response.text is None and re.search(message, response.error), response.error
    assert len(response.error) < 500
    assert server.headers[0]["Accept-Encoding"] == "identity"


def test_an_odd_charset_costs_no_answer(server: Any) -> None:
    chunk = {"choices": [{"delta": {"content": "ja \u00fc"}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\ndata: [DONE]\r\n\r\n".encode()
    for charset in ("hex", "rot13", "no-such", "utf-7", "latin-1"):
        headers = {"Content-Type": f"text/event-stream; charset={charset}"}
        server.reply = lambda body, sent=body, given=headers: (200, sent, given)
        assert ask(server).text == "ja \u00fc"


@pytest.mark.parametrize(
    "listing",
    [
        (200, DEEP, {}),
        (200, b'{"data": NaN}', {}),
        (200, {"data": [{"id": 5}, {"id": {"a": 1}}, None]}, {}),
        (200, {"data": [{"id": 5, "aliases": 7}]}, {}),
        (200, {"data": {"a": 1}}, {}),
        (200, {"data": [{"id": f"m{n}" * 50} for n in range(20_000)]}, {}),
        (200, {"data": [{"id": "M", "root": "\x1b[31m" + "r" * 100_000, "owned_by": ["a"]}]}, {}),
        (404, b"", {}),
    ],
)
def test_an_odd_list_of_models_is_passed_over(server: Any, listing: Any) -> None:
    server.listing = listing
    assert ask(server).text == "yes"


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ((302, b"", {}), "has moved to a place that it does not name"),
        ((302, b"", {"Location": "http://h/x"}), "has moved to http://h/x"),
        ((200, HUGE, {}), "more than 1 MiB"),
        ((200, gzip.compress(HUGE), {"Content-Encoding": "gzip"}), "more than 1 MiB"),
        ((500, b"\x1b[2J \xff", {}), "is not ready"),
    ],
)
def test_a_server_that_cannot_be_is_one_line(
    server: Any, monkeypatch: pytest.MonkeyPatch, listing: Any, message: str
) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1 << 20)
    server.listing = listing
    with pytest.raises(VlmbenchError, match=message):
        ask(server)


ABSURD = (10**400, -1, float("nan"), float("inf"), 1e300, 1.5, "7", True, [7], {"a": 7}, None)


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: str(value)[:8])
def test_absurd_counts_are_unknown(server: Any, value: Any) -> None:
    details = {"image_tokens": value, "reasoning_tokens": value}
    usage = {"prompt_tokens": value, "completion_tokens": value, "prompt_tokens_details": details}
    usage |= {"completion_tokens_details": details}
    content = json.dumps({"choices": [{"message": MESSAGE}], "usage": usage}).encode()
    server.reply = lambda body: (200, content, {})
    response = ask(server)
    assert response.text == "yes"
    assert response.prompt_tokens is response.generated_tokens is response.visual_tokens is None
    assert response.reasoning_tokens is None


def test_a_wait_that_no_run_can_wait_is_bounded() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    dates = ("Fri, 31 Dec 9999 23:59:59 -9959", "1 Jan 100000000000000000000 00:00:00", "9" * 5000)
    for text in (*dates, "1e308", "-inf", "\0", "Mon, 99 Foo"):
        assert 0 < wait_s(1, text, now) <= 120


@pytest.mark.parametrize(
    "path",
    [
        *("v1/sk-abcdefghijklmnop", "sk-proj-1234567890ab/v1", "x;key=abc/v1", "token=abc/v1"),
        *("AIzaSyA1234567890abcdefghijkl/v1", "gsk_aB3dE5fG7hI9jK1l/v1", "hf_AbCdEfGhIjKl/v1"),
        "v1/aB3dE5fG7hI9jK1lM3nO5pQ7r",
    ],
)
def test_a_key_in_a_path_is_refused_and_not_repeated(path: str) -> None:
    with pytest.raises(VlmbenchError, match="seems to hold a key in its path") as caught:
        check(f"http://h.example/{path}#M")
    assert not any(part in str(caught.value) for part in path.split("/") if len(part) > 3)


@pytest.mark.parametrize(
    "path",
    [
        *("v1", "openai/deployments/gpt-4o-2024-08-06", "v2/abc123def456gh/openai/v1"),
        "client/v4/accounts/0123456789abcdef0123456789abcdef/ai/v1",
        "projects/my-project/locations/us-central1/endpoints/openapi",
        "3f0c2a9e-1b7d-4c3e-9a55-0d6f1e2b3c4d/v1",
    ],
)
def test_paths_of_providers_are_no_keys(path: str) -> None:
    check(f"https://h.example/{path}#M")


def test_a_key_is_masked_in_every_form() -> None:
    key = "sk-a/b+c=="
    for form in (key, "sk-a%2Fb%2Bc%3D%3D", "c2stYS9iK2M9PQ=="):
        assert servers.brief(f"no: {form}", key) == "no: ***"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "message", "delta", "content", "finish_reason", "usage", "error"),
                    *("text", "type", "reasoning", "logprobs", "top_logprobs", "prompt_tokens"),
                    *("prompt_tokens_details", "image_tokens", "refusal", "detail", "loc", "msg"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON)
def test_whatever_json_comes_is_an_answer_or_a_failure(document: Any) -> None:
    answer = Answer()
    try:
        answer.add(document)
        text, _ = answer.text, answer.finish_reason
    except (ReplyError, ServerError):
        return
    assert isinstance(text, str)
    counts = (answer.prompt_tokens, answer.generated_tokens, answer.visual_tokens)
    assert all(count is None or 0 <= count < MOST for count in counts)
