"""Signs as in TextVQA: a few words and numbers on a coloured ground, and questions about them.

Level "large text": one picture of at most 96 px. Level "small text": up to 192 px, whose letters
are lost when it is shrunk to 96 px, but not when it is cut in four; no word crosses a cut.
"""

from __future__ import annotations

import random
import string
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from PIL import Image, ImageOps

from vlmbench.data.mini.drawing import SHAPES, Box, Canvas, ink, luma
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.scenes import LARGE, SMALL, Exercise, Part, text_level
from vlmbench.data.mini.words import number, words

Kind = Literal["word", "number", "price", "code"]
KINDS: tuple[Kind, ...] = ("word", "number", "price", "code")

ALONE: dict[Kind, tuple[str, ...]] = {
    "word": (
        "what is the word?",
        "what word is shown?",
        "what word is this?",
        "what word is on the sign?",
        "which word is written here?",
    ),
    "number": (
        "what is the number?",
        "what number is shown?",
        "what number is on the sign?",
        "which number is written here?",
    ),
    "price": ("what is the price?", "what price is shown?", "how much does it cost?"),
    "code": ("what is the code?", "what code is shown?"),
}
"""Questions by kind of text, for a picture with one text of the kind."""

SINGLE = (
    "what does the sign say?",
    "what does it say?",
    "what is written here?",
    "what is the text?",
)
"""Questions for a picture with a single text."""

AT = (
    "what is the {noun} at the {place}?",
    "what is written at the {place}?",
    "what does it say at the {place}?",
)
COLORED = (
    "what is the {color} {noun}?",
    "what is written in {color}?",
    "what {noun} is in {color}?",
)
ON_PLATE = ("what does the {color} sign say?", "what is on the {color} sign?")

NAMED = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "pink", "brown")
ALIKE = (
    {"red", "orange"},
    {"red", "brown"},
    {"red", "pink"},
    {"orange", "yellow"},
    {"orange", "brown"},
    {"blue", "purple"},
    {"purple", "pink"},
    {"purple", "brown"},
    {"black", "brown"},
    {"orange", "pink"},
)
"""Not both in one picture, so that a colour names one text."""

MIN_CONTRAST = 85
"""Difference in luma, of 255, between a text and every part of what is behind it."""

SIZES = {LARGE: (13, 20), SMALL: (12, 15)}
"""Smallest and largest letters, in pixels."""

MARGIN = 4
"""Pixels between a text and the picture's edges and cuts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text of the picture, and by what a question can name it."""

    text: str
    kind: Kind
    places: tuple[str, ...]
    """Places that name it uniquely, such as "top" or "bottom left"."""

    color: str
    plate: str
    """Colour of the plate behind it; empty: it has none."""


def draw(rng: random.Random, part: Part, index: int) -> list[dict[str, Any]]:
    """Rows of a scene: one question for each text."""
    canvas, texts = _picture(rng, part, index)
    asked = [(text, _cased(rng, rng.choice(_forms(text, texts)))) for text in texts]
    return _rows(part, index, canvas, texts, asked)


def exercises(rng: random.Random, part: Part, index: int) -> list[Exercise]:
    """All questions that name a text."""
    canvas, texts = _picture(rng, part, index)
    asked = [(text, _cased(rng, form)) for text in texts for form in _forms(text, texts)]
    return [Exercise(row) for row in _rows(part, index, canvas, texts, asked)]


def _picture(rng: random.Random, part: Part, index: int) -> tuple[Canvas, list[Text]]:
    level = text_level(index)
    canvas, cells = _ground(rng, level)
    return canvas, _write(rng, part, level, canvas, cells)


def _rows(
    part: Part,
    index: int,
    canvas: Canvas,
    texts: Sequence[Text],
    asked: Sequence[tuple[Text, str]],
) -> list[dict[str, Any]]:
    return [
        {
            "image_id": f"{part}-{index}",
            "question_id": 10 * index + i,
            "question": question,
            "question_tokens": question.lower().rstrip("?").split(),
            "image": canvas.image,
            "image_width": canvas.width,
            "image_height": canvas.height,
            "flickr_original_url": "",
            "flickr_300k_url": "",
            "answers": [text.text] * 10,
            "image_classes": [text_level(index)],
            "set_name": part,
            "ocr_tokens": [one.text for one in texts],
        }
        for i, (text, question) in enumerate(asked)
    ]


def sign(rng: random.Random) -> Canvas:
    """A sign with large text, without questions, for training."""
    canvas, cells = _ground(rng, LARGE)
    _write(rng, "practice", LARGE, canvas, cells)
    return canvas


Cell = tuple[Box, tuple[str, ...]]
"""Room for one text, and the names of the place: rows first, "top", then "top left"."""


def _ground(rng: random.Random, level: str) -> tuple[Canvas, list[Cell]]:
    """A picture without its texts, and one to three places for them."""
    if level == LARGE:
        count = rng.choice((1, 1, 2, 2, 3))
        width = 8 * rng.randint(8, 12)
        height = min(96, 8 * rng.randint(3 * count, 4 * count + 2))
        bands = [round(i * height / count) for i in range(count + 1)]
        names = {1: ("",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}[count]
        cells: list[Cell] = [
            (Box(0, bands[i], width, bands[i + 1]), (name,)) for i, name in enumerate(names)
        ]
    else:
        width, height = 192, rng.choice((96, 128, 160, 192))
        across, down = width // 2, height // 2
        corners: list[Cell] = [
            (Box(x, y, x + across, y + down), (row, column, f"{row} {column}"))
            for y, row in ((0, "top"), (down, "bottom"))
            for x, column in ((0, "left"), (across, "right"))
        ]
        cells = rng.sample(corners, rng.choice((1, 2, 2, 3, 3)))
    canvas = Canvas(width, height)
    _paint(rng, canvas)
    return canvas, cells


def _paint(rng: random.Random, canvas: Canvas) -> None:
    """A plain ground, a gradient, noise, or shapes: all of them light, or all of them dark."""
    is_dark = rng.random() < 0.5
    first, second = _tint(rng, is_dark), _tint(rng, is_dark)
    size = (canvas.width, canvas.height)
    kind = rng.choice(("plain", "gradient", "noise", "shapes"))
    if kind == "gradient":
        ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize(size)
        canvas.image.paste(ImageOps.colorize(ramp, first, second))
    elif kind == "noise":
        grain = rng.choice((1, 2, 4))
        small = (canvas.width // grain, canvas.height // grain)
        specks = Image.frombytes("L", small, rng.randbytes(small[0] * small[1]))
        canvas.image.paste(ImageOps.colorize(specks.resize(size), first, second))
    else:
        canvas.image.paste(first, (0, 0, *size))
    if kind == "shapes":
        for _ in range(rng.randint(2, 5)):
            x, y = rng.randrange(canvas.width), rng.randrange(canvas.height)
            canvas.shape(rng.choice(SHAPES), x, y, rng.randint(6, 20), _tint(rng, is_dark))


def _tint(rng: random.Random, is_dark: bool) -> tuple[int, int, int]:
    """A colour whose luma is below 75, or above 180."""
    low, high = (0, 75) if is_dark else (180, 255)
    red, green, blue = (rng.randint(low, high) for _ in range(3))
    return red, green, blue


def _write(
    rng: random.Random, part: Part, level: str, canvas: Canvas, cells: Sequence[Cell]
) -> list[Text]:
    texts: list[Text] = []
    taken: set[str] = set()
    names = [place for _, places in cells for place in places]
    for cell, places in cells:
        kind, text, face, size = _fitting(rng, part, level, cell, {text.text for text in texts})
        left, top, right, bottom = ink(text, face, size)
        width, height = right - left, bottom - top
        x = rng.randint(cell.left + MARGIN, cell.right - MARGIN - width)
        y = rng.randint(cell.top + MARGIN, cell.bottom - MARGIN - height)
        box = Box(x, y, x + width, y + height)
        color, plate = _colors(rng, canvas, box, taken)
        if plate:
            edge = MARGIN - 1
            canvas.rectangle(
                Box(x - edge, y - edge, x + width + edge, y + height + edge), fill=plate
            )
        canvas.write(x - left, y - top, text, face, size, color)
        taken.add(plate or color)
        alone = tuple(place for place in places if place and names.count(place) == 1)
        texts.append(
            Text(
                text=text,
                kind=kind,
                places=alone if len(cells) > 1 else (),
                color=color,
                plate=plate,
            )
        )
    return texts


def _fitting(
    rng: random.Random, part: Part, level: str, cell: Box, others: Collection[str]
) -> tuple[Kind, str, str, int]:
    """A text that no other equals, with face and size, so that it fits into the cell."""
    across = cell.right - cell.left - 2 * MARGIN
    down = cell.bottom - cell.top - 2 * MARGIN
    smallest, largest = SIZES[level]
    unlike = {other.lower() for other in others}
    while True:
        kind = rng.choices(KINDS, (6, 2, 1, 1))[0]
        text = _text(rng, part, kind)
        face = rng.choice(FACES[part])
        for size in range(rng.randint(smallest, largest), smallest - 1, -1):
            left, top, right, bottom = ink(text, face, size)
            if right - left <= across and bottom - top <= down and text.lower() not in unlike:
                return kind, text, face, size


def _text(rng: random.Random, part: Part, kind: Kind) -> str:
    if kind == "word":
        word = rng.choice(words(part))
        return rng.choices((word, word.upper(), word.capitalize()), (14, 3, 3))[0]
    if kind == "number":
        return str(number(rng, part, 10, rng.choice((99, 999, 9999))))
    if kind == "price":
        return f"${number(rng, part, 100, 9999) / 100:.2f}"
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    return f"{letters}{number(rng, part, 10, rng.choice((99, 999)))}"


def _colors(rng: random.Random, canvas: Canvas, box: Box, taken: set[str]) -> tuple[str, str]:
    """A text's colour, and that of the plate behind it; empty: it has none."""
    free = [name for name in NAMED if not any({name, other} in ALIKE for other in taken)]
    free = [name for name in free if name not in taken]
    low, high = cast(tuple[int, int], canvas.image.crop(box).convert("L").getextrema())
    legible = [n for n in free if luma(n) - high >= MIN_CONTRAST or low - luma(n) >= MIN_CONTRAST]
    if legible and rng.random() < 0.75:
        return rng.choice(legible), ""
    plate = rng.choice(free)
    return "black" if luma(plate) > 128 else "white", plate


def _forms(text: Text, texts: Sequence[Text]) -> list[str]:
    """The questions that name this one of the texts."""
    forms = [form.format(noun=text.kind, place=place) for place in text.places for form in AT]
    if text.plate:
        forms += [form.format(color=text.plate) for form in ON_PLATE]
    elif sum(other.color == text.color for other in texts) == 1:
        forms += [form.format(noun=text.kind, color=text.color) for form in COLORED]
    if sum(other.kind == text.kind for other in texts) == 1:
        forms += ALONE[text.kind]
    if len(texts) == 1:
        forms += SINGLE
    return forms


def _cased(rng: random.Random, question: str) -> str:
    return question.capitalize() if rng.random() < 0.5 else question
