"""What a server is sent for a request, and what is made of its reply."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from PIL import Image

from vlmbench.backends.registry import open_backend
from vlmbench.backends.replies import Answer
from vlmbench.schema import Message, Picture, Request, Response


def completion(text: str | None, finish_reason: str | None = "stop") -> Any:
    message = {"role": "assistant", "content": text}
    return 200, {"choices": [{"message": message, "finish_reason": finish_reason}]}, {}


def refusal(status: int, message: str) -> Any:
    return status, {"error": {"message": message}}, {}


def events(*documents: Any) -> Any:
    lines = [json.dumps(document, ensure_ascii=False) for document in documents]
    body = "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]"))
    return 200, body.encode(), {"Content-Type": "text/event-stream"}


def chunk(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}


@dataclass(frozen=True)
class Photo(Picture):
    content: bytes

    def encoded(self) -> bytes:
        return self.content

    def decode(self) -> Image.Image:
        try:
            return Image.open(io.BytesIO(self.content))
        except OSError as error:
            raise ValueError("the picture cannot be decoded") from error


def picture(format: str = "PNG", mode: str = "RGB", colour: Any = (9, 99, 199)) -> Picture:
    file = io.BytesIO()
    Image.new(mode, (4, 3), colour).save(file, format)
    return Photo(file.getvalue())


def request(id: str = "vqav2@mini/1", *content: str | Picture, **fields: Any) -> Request:
    message = Message(role="user", content=content or ("What?",))
    asked = Request(id=id, image_group="g", messages=(message,), max_new_tokens=7)
    return replace(asked, **fields)


def ask(server: Any, asked: Request | None = None, **settings: Any) -> Response:
    backend = open_backend(f"openai:{server.url}#M", **settings)
    (response,) = backend.generate([asked or request()])
    return response


def test_text_and_pictures_are_sent_in_place_and_in_order(server: Any) -> None:
    first, second = picture("JPEG"), picture("PNG")
    shot = Message(role="user", content=(second, "Before?"))
    answer = Message(role="assistant", content=("Yes.",))
    asked = request("a", "Look: ", first, " and ", second, " differ?")
    ask(server, replace(asked, messages=(shot, answer, *asked.messages)))

    def image(mime: str, sent: Picture) -> dict[str, Any]:
        data = base64.b64encode(sent.encoded()).decode()
        return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{data}"}}

    def text(sent: str) -> dict[str, Any]:
        return {"type": "text", "text": sent}

    jpeg, png = image("image/jpeg", first), image("image/png", second)
    assert server.bodies[0]["messages"] == [
        {"role": "user", "content": [png, text("Before?")]},
        {"role": "assistant", "content": "Yes."},
        {
            "role": "user",
            "content": [text("Look: "), jpeg, text(" and "), png, text(" differ?")],
        },
    ]


@pytest.mark.parametrize(
    ("format", "mode"),
    [("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "1"), ("JPEG", "RGB"), ("JPEG", "L")],
)
def test_a_plain_picture_is_sent_as_it_is_stored(server: Any, format: str, mode: str) -> None:
    sent = picture(format, mode, colour=0)
    ask(server, request("a", sent, "?"))
    uri = server.bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert uri == f"data:image/{format.lower()};base64,{base64.b64encode(sent.encoded()).decode()}"


@pytest.mark.parametrize(
    ("format", "mode", "colour"),
    [
        pytest.param("BMP", "RGB", (9, 99, 199), id="bmp"),
        pytest.param("TIFF", "CMYK", (10, 20, 30, 0), id="a mode that PNG lacks"),
        pytest.param("WEBP", "RGB", (9, 99, 199), id="webp, which llama.cpp does not read"),
        pytest.param("GIF", "P", 7, id="gif"),
        pytest.param("JPEG", "CMYK", (10, 20, 30, 0), id="cmyk jpeg"),
    ],
)
def test_any_other_picture_is_sent_as_png(server: Any, format: str, mode: str, colour: Any) -> None:
    sent = picture(format, mode, colour)
    ask(server, request("a", sent, "?"))
    uri = server.bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
    prefix, _, data = uri.partition(",")
    assert prefix == "data:image/png;base64"
    received = Image.open(io.BytesIO(base64.b64decode(data)))
    assert received.format == "PNG"
    assert received.mode == "RGB"
    assert received.getpixel((3, 2)) == sent.decode().convert("RGB").getpixel((3, 2))


def test_generation_settings_are_sent(server: Any) -> None:
    ask(server, request(stop=("Q", "\n"), bad_words=("no",)))
    greedy = server.bodies[0]
    assert (greedy["model"], greedy["temperature"], greedy["max_tokens"]) == ("M", 0, 7)
    assert greedy["bad_words"] == ["no"]
    assert not {"seed", "top_p", "stop"} & greedy.keys()  # defaults, and what we do ourselves
    ask(server, temperature=0.5, top_p=0.9, seed=3)
    drawn = server.bodies[1]
    assert (drawn["temperature"], drawn["top_p"], drawn["seed"]) == (0.5, 0.9, 3)
    assert not {"stop", "bad_words", "logprobs"} & drawn.keys()


@pytest.mark.parametrize("owner", ["vllm", "sglang", "llamacpp"])
def test_an_answer_prefix_is_a_message_that_the_server_goes_on_with(
    server: Any, owner: str
) -> None:
    server.owner = owner
    assert ask(server, request(answer_prefix="Answer:")).text == "yes"
    body = server.bodies[0]
    assert body["messages"][-1] == {"role": "assistant", "content": "Answer:"}
    says_so = body.get("continue_final_message") is True and not body["add_generation_prompt"]
    assert says_so == (owner != "llamacpp")  # it does so by itself


@pytest.mark.parametrize(
    "wish", [{"answer_prefix": "Answer:"}, {"bad_words": ("no",)}], ids=["prefix", "bad words"]
)
def test_what_an_unknown_server_may_ignore_is_not_sent(server: Any, wish: dict[str, Any]) -> None:
    server.owner = "somebody"
    response = ask(server, request(**wish))
    assert response.error.startswith("UnsupportedError: the prompt")
    assert "such as lmms" in response.error
    assert not server.bodies


def ranking(*tokens: tuple[Any, float]) -> Any:
    listed = [{"token": token, "logprob": logprob} for token, logprob in tokens]
    logprobs = {"content": [{"token": "Hm", "top_logprobs": listed}]}
    choice = {"message": {"content": "Hm"}, "finish_reason": "length", "logprobs": logprobs}
    return 200, {"choices": [choice]}, {}


@pytest.mark.parametrize(
    "tokens",
    [
        pytest.param([("C", -9.0), (" B", -0.5), ("The", -0.1)], id="not in order"),
        pytest.param([("\u2581B", -1.0), ("A", -2.0)], id="SentencePiece"),
        pytest.param([("\u0120B", -1.0), (" A", -2.0)], id="byte-level BPE"),
        pytest.param([("b", -0.1), ("BA", -0.2), ("B", -3.0)], id="whole tokens only"),
    ],
)
def test_candidates_are_ranked_by_the_first_token(
    server: Any, tokens: list[tuple[str, float]]
) -> None:
    server.script(ranking(*tokens))
    response = ask(server, request(candidates=("A", "B", "C"), answer_prefix="Answer:"))
    assert (response.text, response.finish_reason) == ("B", "choice")
    body = server.bodies[0]
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1)
    assert "stream" not in body


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(completion("A"), "UnsupportedError: the server gives no log", id="none"),
        pytest.param(ranking(("The", -0.1)), "ReplyError: no candidate is among", id="others"),
        pytest.param(ranking((1, -0.1)), "ReplyError: log-prob", id="malformed"),
    ],
)
def test_a_ranking_that_the_server_does_not_give_is_an_error(
    server: Any, reply: Any, error: str
) -> None:
    server.script(reply)
    assert ask(server, request(candidates=("A", "B"))).error.startswith(error)


def test_candidates_of_several_tokens_are_not_ranked_by_their_first(server: Any) -> None:
    assert "must be single letters" in ask(server, request(candidates=("cat", "car"))).error
    assert not server.bodies


def test_a_stream_gives_text_counts_and_times(server: Any) -> None:
    details = {"image_tokens": 64}
    usage = {"prompt_tokens": 80, "completion_tokens": 2, "prompt_tokens_details": details}
    # the separators end a line for Python, not for a stream of events
    pieces = [chunk(""), chunk("li\u2028ne"), chunk("\x85d", "stop")]
    server.script(events(*pieces, {"choices": [], "usage": usage}))
    assert [Answer().add(piece) for piece in pieces] == [False, True, True]  # the first token's
    response = ask(server)
    assert server.bodies[0]["stream_options"] == {"include_usage": True}
    assert (response.text, response.finish_reason) == ("li\u2028ne\x85d", "stop")
    counts = (response.visual_tokens, response.prompt_tokens, response.generated_tokens)
    assert counts == (64, 80, 2)
    times = response.timings
    assert times.first_token_s is not None and times.total_s is not None
    assert times.preprocess_s is not None and times.decode_s is not None
    assert 0 <= times.preprocess_s <= times.first_token_s
    assert times.first_token_s + times.decode_s <= times.total_s


@pytest.mark.parametrize(
    ("reply", "text", "finish_reason"),
    [
        (completion("cut o", "length"), "cut o", "length"),
        (completion("done", "eos_token"), "done", "stop"),
        (completion("done", None), "done", "stop"),
        (completion(None, "length"), "", "length"),
        (events(chunk("cut o", "length")), "cut o", "length"),
    ],
)
def test_finish_reasons(server: Any, reply: Any, text: str, finish_reason: str) -> None:
    server.script(reply)
    response = ask(server)
    assert (response.text, response.finish_reason) == (text, finish_reason)
    assert response.prompt_tokens is response.generated_tokens is response.visual_tokens is None


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((200, b'{"choices": [', {}), 'ReplyError: the reply is not JSON: {"choices": ['),
        ((200, {"choices": []}, {}), "ReplyError: the reply has no choices"),
        ((200, [1], {}), "ReplyError: not a chat completion: [1]"),
        ((200, {"choices": [7]}, {}), "ReplyError: not a chat completion"),
        (completion("no", "content_filter"), "ReplyError: the server ended the answer by 'content"),
        ((200, {"error": {"message": "bad", "code": 400}}, {}), "ServerError: bad"),
        (events({"error": {"message": "too long", "code": 400}}), "ServerError: too long"),
        (refusal(400, "maximum context\nlength"), "ServerError: HTTP 400: maximum context length"),
        ((422, {"detail": [{"msg": "x"}]}, {}), "ServerError: HTTP 422: x"),
        ((413, b"<html>large</html>", {}), "ServerError: HTTP 413: large"),
        ((404, {}, {}), "ServerError: HTTP 404: {}"),
        ((400, b"x" * 9999, {}), "ServerError: HTTP 400: xxx"),
    ],
)
def test_what_cannot_pass_is_an_error_at_once(server: Any, reply: Any, error: str) -> None:
    server.script(reply)
    response = ask(server)
    assert response.error.startswith(error)
    assert (response.text, response.attempt, len(server.bodies)) == (None, 1, 1)
    assert len(response.error) <= 300
