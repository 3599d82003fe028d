"""What is made of the answers of servers that speak the format each in its own way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vlmbench.backends.registry import open_backend
from vlmbench.schema import Message, Request, Response


def request(**fields: Any) -> Request:
    message = Message(role="user", content=("What?",))
    return Request(id="t/1", image_group="g", messages=(message,), max_new_tokens=7, **fields)


def ask(server: Any, asked: Request | None = None, **settings: Any) -> Response:
    (response,) = open_backend(f"openai:{server.url}#M", **settings).generate([asked or request()])
    return response


def document(message: dict[str, Any], finish_reason: str | None = "stop", **fields: Any) -> Any:
    return 200, {"choices": [{"message": message, "finish_reason": finish_reason}], **fields}, {}


def stream(*deltas: dict[str, Any], finish_reason: Any = "stop", end: str = "[DONE]") -> Any:
    chunks = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"delta": {}, "finish_reason": finish_reason}]})
    lines = [*(json.dumps(chunk) for chunk in chunks), *([end] if end else [])]
    body = "".join(f"data: {line}\n\n" for line in lines)
    return 200, body.encode(), {"Content-Type": "text/event-stream"}


REASONED = [
    pytest.param(document({"content": "yes", "reasoning_content": "Hm. Yes."}), id="DeepSeek"),
    pytest.param(document({"content": "yes", "reasoning": "Hm. Yes."}), id="vLLM, OpenRouter"),
    pytest.param(
        document({"content": "yes", "reasoning": "Hm. Yes.", "reasoning_content": "Hm. Yes."}),
        id="under both names",
    ),
    pytest.param(
        stream({"reasoning": "Hm. "}, {"reasoning": "Yes."}, {"content": "yes"}), id="streamed"
    ),
    pytest.param(
        document(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm. Yes."}]},
                    {"type": "text", "text": "yes"},
                ]
            }
        ),
        id="Mistral",
    ),
    pytest.param(
        stream(
            {"content": [{"type": "thinking", "thinking": "Hm. Yes."}]},
            {"content": [{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]},
        ),
        id="streamed in parts",
    ),
]


@pytest.mark.parametrize("reply", REASONED)
def test_reasoning_is_kept_apart_from_the_answer(server: Any, reply: Any) -> None:
    server.script(reply)
    response = ask(server)
    assert (response.text, response.reasoning) == ("yes", "Hm. Yes.")
    assert response.finish_reason == "stop"


def test_tokens_of_the_reasoning_are_counted(server: Any) -> None:
    details = {"reasoning_tokens": 30}
    usage = {"completion_tokens": 32, "completion_tokens_details": details}
    server.script(document({"content": "yes", "reasoning": "Hm."}, usage=usage))
    response = ask(server)
    assert (response.generated_tokens, response.reasoning_tokens) == (32, 30)


@pytest.mark.parametrize("content", [None, ""])
def test_reasoning_that_fills_the_limit_is_a_cut_off_answer(server: Any, content: Any) -> None:
    server.script(document({"content": content, "reasoning": "Let me"}, "length"))
    response = ask(server)
    assert (response.text, response.finish_reason) == ("", "length")
    assert response.reasoning == "Let me"


def test_stop_strings_are_not_sent_and_cut_the_answer_but_not_the_reasoning(server: Any) -> None:
    reasoning, text = "The Question is easy.", "<think>A Question?</think>yes\nQuestion: no"
    server.script(document({"content": text, "reasoning": reasoning}, "length"))
    response = ask(server, request(stop=("Question", "User")))
    assert "stop" not in server.bodies[0]
    assert response.text == "<think>A Question?</think>yes\n"
    assert (response.reasoning, response.finish_reason) == (reasoning, "stop")


@pytest.mark.parametrize("reason", ["eos", "end_turn", "STOP", "eos_token", "FINISH_REASON_STOP"])
def test_the_models_own_end_has_many_names(server: Any, reason: str) -> None:
    server.script(document({"content": "yes"}, reason))
    assert (ask(server).text, ask_again(server, reason)) == ("yes", "stop")


def ask_again(server: Any, reason: str) -> str:
    server.script(stream({"content": "yes"}, finish_reason=reason))
    return ask(server).finish_reason


@pytest.mark.parametrize("reason", ["max_tokens", "MAX_TOKENS", "model_length", "incomplete"])
def test_the_limit_has_many_names(server: Any, reason: str) -> None:
    server.script(document({"content": "ye"}, reason))
    assert ask(server).finish_reason == "length"


def test_an_unknown_reason_ends_an_answer_but_is_none_by_itself(server: Any) -> None:
    server.script(document({"content": "yes"}, "as_it_likes"), document({}, "as_it_likes"))
    assert ask(server).text == "yes"
    assert ask(server).error == "ReplyError: the server ended the answer by 'as_it_likes'"


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "tool_calls", "abort", "error"])
def test_what_is_not_the_models_answer_is_no_answer(server: Any, reason: str) -> None:
    server.script(document({"content": "I"}, reason))
    assert ask(server).error == f"ReplyError: the server ended the answer by {reason!r}"


@pytest.mark.parametrize("reason", ["", None])
def test_a_stream_that_says_its_end_is_complete(server: Any, reason: Any) -> None:
    server.script(stream({"content": "yes"}, finish_reason=reason))
    assert (ask(server).text, len(server.bodies)) == ("yes", 1)


def test_a_stream_without_its_end_is_asked_again(server: Any) -> None:
    server.script(stream({"content": "y"}, finish_reason=None, end=""), server.completion("yes"))
    response = ask(server)
    assert (response.text, response.attempt) == ("yes", 2)


def test_a_refusal_in_its_own_field_is_the_answer(server: Any) -> None:
    server.script(document({"content": None, "refusal": "I cannot help."}))
    assert ask(server).text == "I cannot help."


def test_a_cut_off_answer_is_asked_for_again_with_twice_the_tokens_each_time(server: Any) -> None:
    def reply(body: dict[str, Any]) -> Any:
        is_enough = body["max_tokens"] >= 28
        return document(
            {"content": "yes" if is_enough else None}, "stop" if is_enough else "length"
        )

    server.reply = reply
    once = ask(server, retry_truncated=1)
    assert (once.text, once.finish_reason, once.token_limit) == ("", "length", 14)
    enough = ask(server, retry_truncated=5)
    assert (enough.text, enough.attempt, enough.token_limit) == ("yes", 3, 28)
    assert [body["max_tokens"] for body in server.bodies] == [7, 14, 7, 14, 28]
    assert ask(server).token_limit is None  # not asked for


def test_a_cut_off_answer_stays_where_the_context_has_no_room_for_more(server: Any) -> None:
    server.script(document({"content": "ye"}, "length"), server.refusal(400, "maximum context"))
    response = ask(server, retry_truncated=3)
    assert (response.text, response.finish_reason, response.token_limit) == ("ye", "length", None)


def test_an_error_page_is_told_by_its_words(server: Any) -> None:
    page = b"<html><head><title>413 Too Large</title></head><body><h1>413 Too Large</h1></body>"
    server.script((413, page, {"Content-Type": "text/html"}))
    assert ask(server).error == "ServerError: HTTP 413: 413 Too Large"
