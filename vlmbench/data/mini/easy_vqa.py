"""The easy-VQA package (Zhou, 2020; MIT licence): one shape a picture, in VQAv2's schema."""

from __future__ import annotations

import importlib.util
import json
import random
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from vlmbench.data.mini.scenes import Part
from vlmbench.errors import VlmbenchError

SHAPES = ("circle", "rectangle", "triangle")


class Question(NamedTuple):
    text: str
    answer: str

    @property
    def kind(self) -> str:
        """Kind of question: "shape" or "color"; "is there" or "is there not"."""
        if self.answer in ("yes", "no"):
            words = self.text.split()
            return "is there not" if "not" in words or "no" in words else "is there"
        return "shape" if self.answer in SHAPES else "color"

    @property
    def topic(self) -> str:
        """Topic of a yes/no question: a "shape" or a "color"."""
        return "shape" if any(shape in self.text for shape in SHAPES) else "color"


def draw(rng: random.Random, part: Part, index: int) -> list[dict[str, Any]]:
    """A picture with all its questions; "test" is the package's, of 1,000 pictures."""
    return rows(index, picture(part, index), [*questions(part, index)])


def rows(index: int, image: Image.Image, asked: list[Question]) -> list[dict[str, Any]]:
    return [
        row(index, number, image, question.text, question.answer, f"easy-vqa {question.kind}")
        for number, question in enumerate(asked)
    ]


def row(
    index: int, number: int, image: Image.Image, question: str, answer: str, question_type: str
) -> dict[str, Any]:
    """A row of VQAv2; ten people agree on the answer."""
    answer_type = "other"
    if answer in ("yes", "no"):
        answer_type = "yes/no"
    elif answer.isdecimal():
        answer_type = "number"
    return {
        "question_type": question_type,
        "multiple_choice_answer": answer,
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": person}
            for person in range(1, 11)
        ],
        "image_id": index,
        "answer_type": answer_type,
        "question_id": index * 1000 + number,
        "question": question,
        "image": image,
    }


def picture(part: Part, index: int) -> Image.Image:
    """A picture of the package.

    Raises: VlmbenchError where the package is not installed.
    """
    number = index % len(_questions(part))
    with Image.open(_folder() / part / "images" / f"{number}.png") as image:
        return image.convert("RGB")


def questions(part: Part, index: int) -> tuple[Question, ...]:
    """Questions of a picture; numbers beyond the last picture start again."""
    by_picture = _questions(part)
    return by_picture[index % len(by_picture)]


@cache
def _questions(part: Part) -> tuple[tuple[Question, ...], ...]:
    entries = json.loads((_folder() / part / "questions.json").read_text("ascii"))
    by_picture: dict[int, list[Question]] = {}
    for text, answer, number in entries:
        by_picture.setdefault(number, []).append(Question(text, answer))
    return tuple(tuple(by_picture[number]) for number in range(len(by_picture)))


@cache
def _folder() -> Path:
    spec = importlib.util.find_spec("easy_vqa")  # its code is not run: only its files are read
    if spec is None or not spec.submodule_search_locations:
        raise VlmbenchError(
            "the mini split of VQAv2 holds easy-VQA's pictures: pip install easy-vqa==1.0"
        )
    return Path(spec.submodule_search_locations[0]) / "data"
