"""Made questions about made pictures, shaped like the six tasks: for measuring speed, not answers.

Sizes, questions a picture and lengths follow published statistics of the tasks' evaluation splits:
VQAv2 has 5.3 questions a picture of 640 pixels, DocVQA 4.2 about a page, MMBench rotates the
options of a question over 3.7 rows. A word of the texts is about one token.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from vlmbench.schema import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

WORDS = (
    *("what", "is", "the", "color", "of", "man", "woman", "on", "left", "table", "behind", "red"),
    *("car", "number", "shown", "in", "chart", "page", "total", "date", "name", "street", "sign"),
    *("how", "many", "people", "dog", "cat", "holding", "phone", "cup", "this", "that", "which"),
)
INSTRUCTION = "Answer the question using a single word or short phrase from it ."
CHOICE = "Answer with the option letter from the given choices directly ."
LETTERS = "ABCD"
Value = TypeVar("Value")
NUM_NOISE = 8  # of 256 grey values: photographs are not smooth


@dataclass(frozen=True)
class DrawnPicture(Picture):
    """An encoded picture."""

    content: bytes

    def encoded(self) -> bytes:
        return self.content

    def decode(self) -> Image:
        from PIL import Image

        image = Image.open(io.BytesIO(self.content))
        image.load()
        return image


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt."""

    pictures: tuple[DrawnPicture, ...]
    text: str
    num_new: int
    """Tokens of an answer of usual length, the one that ends it included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What questions of a task look like; a tuple is drawn from evenly."""

    sizes: tuple[tuple[int, int], ...]
    """Width and height of pictures, in pixels."""

    questions: tuple[int, ...]
    """Asked about one picture."""

    words: tuple[int, ...]
    """Of a question, without its instruction."""

    num_new: tuple[int, ...]
    is_page: bool = False
    """Grey pages of print in PNG rather than photographs in JPEG."""

    option_words: int = 0
    """Of each of four options; the questions about a picture are then rotations of one."""

    num_pictures: tuple[int, ...] = (1,)


SHAPES = {
    "vqav2": Shape(
        sizes=((640, 480), (640, 480), (640, 427), (480, 640)),
        questions=(3, 5, 8),
        words=(5, 7, 8, 11),
        num_new=(2, 2, 3, 4),
    ),
    "textvqa": Shape(
        sizes=((1024, 768), (1024, 683), (768, 1024)),
        questions=(1, 2, 1, 2, 2),
        words=(6, 8, 9, 13),
        num_new=(3, 4, 4, 6),
    ),
    "docvqa": Shape(
        sizes=((1700, 2200),),
        questions=(4,),
        words=(8, 11, 13, 18),
        num_new=(4, 6, 7, 11),
        is_page=True,
    ),
    "mmmu": Shape(
        sizes=((505, 336), (640, 480), (1000, 700), (400, 300)),
        questions=(1,),
        words=(50, 70, 90, 140),
        num_new=(2,),
        option_words=8,
        num_pictures=(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3),
    ),
    "mathvista": Shape(
        sizes=((320, 240), (448, 400), (448, 400), (640, 480), (1000, 750)),
        questions=(1,),
        words=(40, 55, 65, 100),
        num_new=(3, 3, 4, 6),
    ),
    "mmbench": Shape(
        sizes=((512, 384), (512, 309), (384, 512), (400, 300)),
        questions=(4, 4, 4, 3),
        words=(8, 10, 12, 16),
        num_new=(2,),
        option_words=8,
    ),
}
"""Workloads by name, each shaped like the benchmark of that name. A task need not have one."""

ONE_QUESTION = "one question"
"""VQAv2's pictures and questions, one a picture: nothing to share."""


def shape_of(name: str) -> Shape:
    """The shape of a workload: one of `SHAPES`, or `ONE_QUESTION`. Raises: KeyError."""
    if name != ONE_QUESTION:
        return SHAPES[name]
    like = SHAPES["vqav2"]
    return Shape(sizes=like.sizes, questions=(1,), words=like.words, num_new=like.num_new)


def draw(shape: Shape, num_pictures: int, seed: int = 0, scale: float = 1.0) -> list[Question]:
    """Questions in the order of a data set: those about a picture together.

    Each tuple of the shape is gone through in turn, so that few pictures have its mean already.
    `scale` multiplies the sides of pictures.
    """
    dice = random.Random(seed)
    size, number = _in_turn(shape.sizes, dice), _in_turn(shape.questions, dice)
    words, num_new = _in_turn(shape.words, dice), _in_turn(shape.num_new, dice)
    shown = _in_turn(shape.num_pictures, dice)
    questions = []
    for _ in range(num_pictures):
        sides = [(round(w * scale), round(h * scale)) for w, h in (size() for _ in range(shown()))]
        pictures = tuple(picture(*each, dice.getrandbits(32), shape.is_page) for each in sides)
        if shape.option_words:
            options = [_text(dice, shape.option_words) for _ in LETTERS]
            texts = _rotations(_text(dice, words()), options)[: number()]
        else:
            texts = [f"{_text(dice, words())} ?\n{INSTRUCTION}" for _ in range(number())]
        questions += [Question(pictures, text, num_new()) for text in texts]
    return questions


def picture(width: int, height: int, seed: int, is_page: bool = False) -> DrawnPicture:
    """A photograph's colours and noise, or a page's lines of print."""
    import numpy as np
    from PIL import Image

    random_values = np.random.default_rng(seed)
    if is_page:
        print_like = random_values.random((height // 14 + 1, width // 6 + 1)) < 0.5
        print_like[::2] = False  # white between the lines
        grey = np.kron(~print_like, np.ones((14, 6))) * 200 + 40
        values = grey[:height, :width] + random_values.integers(0, NUM_NOISE, (height, width))
    else:
        coarse = random_values.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3))
        smooth = Image.fromarray(coarse.astype(np.uint8)).resize((width, height))
        noise = random_values.integers(-NUM_NOISE, NUM_NOISE, (height, width, 3))
        values = np.clip(np.asarray(smooth) + noise, 0, 255)
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(file, "PNG" if is_page else "JPEG")
    return DrawnPicture(file.getvalue())


def _text(dice: random.Random, num_words: int) -> str:
    return " ".join(dice.choice(WORDS) for _ in range(num_words))


def _rotations(question: str, options: Sequence[str]) -> list[str]:
    texts = []
    for shift in range(len(options)):
        turned = [*options[shift:], *options[:shift]]
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, turned, strict=True)]
        texts.append("\n".join([f"{question} ?", *lines, CHOICE]))
    return texts


def _in_turn(values: Sequence[Value], dice: random.Random) -> Callable[[], Value]:
    """Gives all values in a random order, over and over."""

    def forever() -> Iterator[Value]:
        while True:
            yield from dice.sample(values, len(values))

    return forever().__next__
