"""Pictures with questions, and the same scenes as texts: what towers, decoders and arms learn from.

Shapes lie in the quarters of a square; words stand one below another on slips of any aspect ratio,
or in the quarters of pages that are twice as wide as a crop.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase
from typing import Literal

from vlmbench.data.mini import scenes as mini
from vlmbench.data.mini import words as lists
from vlmbench.data.mini.drawing import Canvas, Color, text_width
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.objects import COLORS, SHAPES, kinds

from .asking import ORDINALS, Question, Thing, about_shapes, about_words, plural

Part = Literal["train", "validation", "test"]
"""Validation and test have other words and codes of two letters than training and than one another,
and combinations of colour and shape that training has not."""

Family = Literal["shapes", "slip", "page"]
FAMILIES: tuple[Family, ...] = ("shapes", "slip", "page")

SIDE = 64
"""Crop side in pixels."""

INKS = ("red", "green", "blue", "purple", "black", "orange")
QUARTERS = ("top left", "top right", "bottom left", "bottom right")
SLIPS = ((64, 64), (64, 48), (64, 32), (48, 64), (40, 64), (96, 48), (96, 36))
PAGES = ((128, 128), (128, 128), (128, 96), (96, 128))
LARGE_TYPE = 20
"""Pixels from which on a page's type is legible when the page is shrunk to a crop."""

VALIDATION_SHARE = 4
"""Every so manieth of the words that training has not is the validation part's."""

FEW, MANY = (1, 1, 2, 2, 3), (1, 2, 3, 4)
"""How many things are in the pictures of arms, and in the scenes from which backbones learn."""

MARGIN = 3
MAX_TURNS = 4
NUM_FACES = 2
Texts = Literal["words", "codes"]
"""What pictures and descriptions show beside shapes: words of three and four letters, from which
backbones learn, or codes of one and two, which arms read. Both are spelled letter by letter."""

HELD_OUT = 6
"""Every so manieth code of two letters is not for training."""

TEMPLATES = (
    "how many shapes are there? how many words are there? what shape is at the and is there a "
    "what color is the word where is the what is the in what is written? nothing it yes no"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, what is in it in reading order, and some questions."""

    family: str
    """A `Family`; pages whose type is too small for a crop are "small page"."""
    canvas: Canvas
    things: tuple[Thing, ...]
    questions: tuple[Question, ...]

    @property
    def description(self) -> str:
        """The scene in words, which a decoder can read."""
        return f"{', '.join(map(str, self.things))}."


def scene(
    rng: random.Random,
    part: Part,
    family: Family,
    texts: Texts = "codes",
    counts: Sequence[int] = FEW,
) -> Scene:
    """A random scene with up to `MAX_TURNS` questions, and one of `counts` things, if it has room.

    Of a page's quarters at least two are filled.
    """
    count = rng.choice(counts)
    if family == "shapes":
        canvas, things, asked = _shapes(rng, part, count)
        name: str = family
    else:
        canvas, things, size = (_slip if family == "slip" else _page)(rng, part, texts, count)
        asked = about_words(rng, things)
        name = "small page" if family == "page" and size < LARGE_TYPE else family
    chosen = rng.sample(asked, min(MAX_TURNS, len(asked)))
    return Scene(name, canvas, tuple(things), tuple(chosen))


@cache
def vocabulary() -> tuple[str, ...]:
    """Words of questions and answers, but for those that pictures show, which are spelled."""
    texts = (*TEMPLATES.split(), *COLORS, *SHAPES, *map(plural, SHAPES))
    texts += (*" ".join(QUARTERS).split(), *ORDINALS)
    return tuple(sorted({text.strip("?.") for text in texts if len(text.strip("?.")) > 1}))


def shown(part: Part, texts: Texts) -> tuple[str, ...]:
    """What pictures of the part may show; of codes every second one is a single letter."""
    return shown_words(part) if texts == "words" else _codes(part)


@cache
def shown_words(part: Part) -> tuple[str, ...]:
    """Words of the part; training has made-up ones too."""
    source: mini.Part = "train" if part == "train" else "test"
    found = [word for word in lists.words(source) if _is_fit(word)]
    if part == "train":
        return (*found, *(word for word in lists.words("practice") if _is_fit(word)))
    return _of_part(found, part)


@cache
def _codes(part: Part) -> tuple[str, ...]:
    """All single letters, repeated to be as many as the pairs, and the pairs of the part."""
    pairs = [a + b for a in ascii_lowercase for b in ascii_lowercase if a + b not in vocabulary()]
    held_out = pairs[HELD_OUT - 1 :: HELD_OUT]
    kept = [pair for pair in pairs if pair not in set(held_out)]
    chosen = tuple(kept) if part == "train" else _of_part(held_out, part)
    return (*chosen, *(ascii_lowercase[i % 26] for i in range(len(chosen))))


def _of_part(found: Sequence[str], part: Part) -> tuple[str, ...]:
    is_validation = part == "validation"
    return tuple(w for i, w in enumerate(found) if (i % VALIDATION_SHARE == 0) == is_validation)


def _is_fit(word: str) -> bool:
    return 3 <= len(word) <= 4 and word not in vocabulary()


def _shapes(
    rng: random.Random, part: Part, count: int
) -> tuple[Canvas, list[Thing], list[Question]]:
    """One to four shapes in the quarters of a square."""
    found = kinds("test") if part != "train" else kinds(rng.choice(("train", "train", "practice")))
    canvas = Canvas(SIDE, SIDE, _paper(rng))
    things, half = [], SIDE // 2
    for index in sorted(rng.sample(range(4), count)):
        kind = rng.choice(found)
        radius = rng.randint(9, 14)
        row, column = divmod(index, 2)
        x = column * half + rng.randint(radius + 1, half - radius - 1)
        y = row * half + rng.randint(radius + 1, half - radius - 1)
        canvas.shape(kind.shape, x, y, radius, kind.color, is_hollow=kind.is_hollow)
        things.append(Thing(kind.shape, kind.color, QUARTERS[index]))
    return canvas, things, about_shapes(rng, things, found)


def _slip(
    rng: random.Random, part: Part, texts: Texts, count: int
) -> tuple[Canvas, list[Thing], int]:
    """One to three words, one below another."""
    canvas = Canvas(*rng.choice(SLIPS), _paper(rng))
    shrinks = canvas.width > SIDE
    sizes = (19, 20, 21, 22) if shrinks else (13, 14, 15, 16)
    count = min(count, 3, canvas.height // (sizes[0] + 5))
    colors, things, size = (
        rng.sample(INKS, count),
        [],
        rng.choice(sizes[:2] if count > 1 else sizes),
    )
    pitch = canvas.height // count
    for index, color in enumerate(colors):
        top = index * pitch + rng.randint(0, max(0, pitch - size - 5))
        word = _write(rng, shown(part, texts), canvas, (0, top, canvas.width), size, color)
        things.append(Thing(word, color, ORDINALS[index] if count > 1 else ""))
    return canvas, things, size


def _page(
    rng: random.Random, part: Part, texts: Texts, count: int
) -> tuple[Canvas, list[Thing], int]:
    """Two to four words, each in a quarter."""
    canvas = Canvas(*rng.choice(PAGES), _paper(rng))
    half_width, half_height = canvas.width // 2, canvas.height // 2
    size = rng.choice((13, 14, 15, 16)) if rng.random() < 0.6 else rng.choice((22, 24, 26))
    places = sorted(rng.sample(range(4), max(2, count)))
    things = []
    for index, color in zip(places, rng.sample(INKS, len(places)), strict=True):
        row, column = divmod(index, 2)
        top = row * half_height + rng.randint(0, half_height - size - 5)
        left = column * half_width
        word = _write(rng, shown(part, texts), canvas, (left, top, left + half_width), size, color)
        things.append(Thing(word, color, QUARTERS[index]))
    return canvas, things, size


def _write(
    rng: random.Random,
    choices: Sequence[str],
    canvas: Canvas,
    room: tuple[int, int, int],
    size: int,
    color: str,
) -> str:
    """A word that fits between left and right of the room, and where it was written."""
    left, top, right = room
    face = rng.choice(FACES["train"][:NUM_FACES])
    while True:
        word = rng.choice(choices)
        free = right - left - 2 * MARGIN - text_width(word, face, size)
        if free >= 0:
            break
        face = rng.choice(FACES["train"][:NUM_FACES])
    canvas.write(left + MARGIN + rng.randint(0, free), top, word, face, size, color)
    return word


def _paper(rng: random.Random) -> Color:
    return (rng.randint(228, 255), rng.randint(228, 255), rng.randint(228, 255))
