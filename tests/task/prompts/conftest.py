"""Made samples with numbered pictures, and prompts shown as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

from vlmbench.schema import Message, Picture, Request, Sample
from vlmbench.task.prompts import request


@dataclass(frozen=True)
class Photo(Picture):
    """A picture that must not be looked into: a prompt only places it."""

    number: int

    def encoded(self) -> NoReturn:
        raise AssertionError("a prompt read a picture")

    decode = encoded


@pytest.fixture(scope="session")
def made() -> Callable[..., Sample]:
    """A function: a question, the number of its pictures, and a sample's other fields."""

    def make(question: str, *, images: int = 1, first: int = 1, **fields: Any) -> Sample:
        photos = {n: Photo(n + first - 1) for n in range(1, images + 1)}
        return Sample(id="s1", image_group="g", question=question, images=photos, **fields)

    return make


@pytest.fixture(scope="session")
def ask() -> Callable[..., Request]:
    """`request`, with the style's own length limit."""

    def asked(sample: Sample, style: str, form: str, **variants: Any) -> Request:
        return request(sample, form=form, style=style, max_new_tokens=None, **variants)

    return asked


@pytest.fixture(scope="session")
def text_of() -> Callable[[Message], str]:
    """A function: a message as text, picture N as [N]."""
    return _text


@pytest.fixture(scope="session")
def model_text() -> Callable[[Request], str]:
    """A function: what Idefics2's chat template makes of a request, picture N as [N]."""

    def templated(asked: Request) -> str:
        turns = (
            f"{message.role.capitalize()}:{' ' * isinstance(message.content[0], str)}"
            f"{_text(message)}<end_of_utterance>\n"
            for message in asked.messages
        )
        return "".join(turns) + " ".join(filter(None, ("Assistant:", asked.answer_prefix)))

    return templated


@pytest.fixture(scope="session")
def numbers() -> Callable[[Request], list[int]]:
    """A function: the numbers of the pictures of a request, in order."""

    def shown(asked: Request) -> list[int]:
        pieces = (piece for message in asked.messages for piece in message.content)
        return [piece.number for piece in pieces if isinstance(piece, Photo)]

    return shown


def _text(message: Message) -> str:
    return "".join(
        f"[{piece.number}]" if isinstance(piece, Photo) else str(piece) for piece in message.content
    )
