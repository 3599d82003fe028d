"""Fields that servers refuse: learnt once, left out or renamed, recorded and told."""

from __future__ import annotations

from typing import Any

import pytest

from vlmbench.backends.registry import identity, open_backend
from vlmbench.backends.terms import Terms
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Message, Request


def requests(number: int = 4, **fields: Any) -> list[Request]:
    message = Message(role="user", content=("What?",))
    common = {"image_group": "g", "messages": (message,), "max_new_tokens": 7, **fields}
    return [Request(id=f"t/{n}", **common) for n in range(number)]


def refusing(server: Any, status: int, document: Any, *names: str) -> None:
    """Let the server refuse any request that has one of these fields."""
    server.reply = lambda body: (
        (status, document, {}) if set(names) & body.keys() else server.completion("yes")
    )


UNSUPPORTED = {
    "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead.",
    "param": "max_tokens",
}
ONLY_DEFAULT = {
    "message": "Unsupported value: 'temperature' does not support 0.0 with this model. Only the "
    "default (1) value is supported.",
    "param": "temperature",
}
FORBIDDEN = {
    "type": "extra_forbidden",
    "loc": ["body", "stream_options"],
    "msg": "Extra inputs are not permitted",
    "input": {"temperature": 0, "max_tokens": 7},
}


@pytest.mark.parametrize(
    ("status", "document", "name"),
    [
        (400, {"error": UNSUPPORTED}, "max_tokens"),
        (400, {"error": {"message": UNSUPPORTED["message"]}}, "max_tokens"),
        (400, {"error": ONLY_DEFAULT}, "temperature"),
        (422, {"error": "`temperature` must be strictly positive"}, "temperature"),
        (422, {"detail": [FORBIDDEN]}, "stream_options"),
        (400, {"error": {"message": "Unrecognized argument: stream_options"}}, "stream_options"),
        (400, {"error": {"message": "Streaming is not supported"}}, "stream"),
        (500, {"error": {"message": "temperature=0 is not supported"}}, "temperature"),
        (200, {"error": {"message": "Unsupported parameter: temperature"}}, "temperature"),
    ],
)
def test_a_refused_field_is_learnt_once_and_told_once(
    server: Any, capsys: pytest.CaptureFixture[str], status: int, document: Any, name: str
) -> None:
    refusing(server, status, document, name)
    backend = open_backend(f"openai:{server.url}#M", concurrency=1)
    answers = list(backend.generate(requests()))
    assert {(answer.text, answer.attempt) for answer in answers} == {("yes", 1)}
    assert [name in body for body in server.bodies] == [True, *[False] * 4]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and f"refuses {name} (" in told[0]
    assert backend.probe().notices == (told[0].removeprefix("vlmbench: "),)
    settings = backend.probe().settings
    if name == "max_tokens":
        assert server.bodies[-1]["max_completion_tokens"] == 7
        assert settings["renamed"] == {"max_tokens": "max_completion_tokens"}
    else:
        assert settings["left_out"] == [name]


def test_requests_that_are_refused_together_teach_one_lesson(server: Any) -> None:
    refusing(server, 400, {"error": ONLY_DEFAULT}, "temperature")
    backend = open_backend(f"openai:{server.url}#M", concurrency=8)
    assert {answer.text for answer in backend.generate(requests(32))} == {"yes"}
    assert backend.probe().settings["left_out"] == ["temperature"]


def test_a_server_that_refuses_one_field_after_another_is_learnt_whole(server: Any) -> None:
    def reply(body: dict[str, Any]) -> Any:
        for name in ("max_tokens", "temperature", "stream_options"):
            if name in body:
                return server.refusal(400, f"Unsupported parameter: {name}")
        return server.completion("yes")

    server.reply = reply
    assert {a.text for a in open_backend(f"openai:{server.url}#M").generate(requests())} == {"yes"}


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 7. This model's maximum context length is 4 tokens",
        "'max_tokens' or 'max_completion_tokens' must be at most 4",
        "The prompt was filtered",
        "This model's context length is 4 tokens, you requested 9 (7 in the completion)",
    ],
)
def test_an_error_that_is_not_about_a_field_teaches_nothing(server: Any, message: str) -> None:
    server.reply = lambda body: server.refusal(400, message)
    backend = open_backend(f"openai:{server.url}#M")
    (answer,) = backend.generate(requests(1))
    assert answer.error == f"ServerError: HTTP 400: {message}"
    assert len(server.bodies) == 1
    assert not {"left_out", "renamed"} & backend.probe().settings.keys()


def test_a_temperature_that_was_asked_for_is_not_left_out(server: Any) -> None:
    refusing(server, 400, {"error": ONLY_DEFAULT}, "temperature")
    (answer,) = open_backend(f"openai:{server.url}#M", temperature=0.7).generate(requests(1))
    assert answer.error.startswith("ServerError: HTTP 400: Unsupported value")


def test_a_limit_is_never_left_out() -> None:
    terms = Terms()
    fields = {"max_tokens": 7, "temperature": 0}
    assert terms.learn("max_tokens is unsupported", terms.apply(fields)) == "max_tokens"
    assert terms.apply(fields) == {"max_completion_tokens": 7, "temperature": 0}
    assert terms.learn("max_completion_tokens is unknown", terms.apply(fields)) == ""


def test_further_fields_and_a_system_message_are_sent_and_recorded(server: Any) -> None:
    given: dict[str, Any] = {
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
        "system": "Be brief.",
    }
    spec = f"openai:{server.url}#M"
    backend = open_backend(spec, **given)
    list(backend.generate(requests(1)))
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert server.bodies[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert given.items() <= backend.probe().settings.items()
    assert given.items() <= identity(spec, given).items()


@pytest.mark.parametrize("name", ["temperature", "messages", "max_tokens", "stream"])
def test_what_the_run_itself_says_cannot_be_a_further_field(server: Any, name: str) -> None:
    with pytest.raises(VlmbenchError, match=f"extra_body may not hold '{name}'"):
        open_backend(f"openai:{server.url}#M", extra_body={name: 1})
