"""Pictures of text lines and loose shapes, which teach reading before any benchmark's layout.

None uses the test part's words or faces. The canvas's `marks` say what covers each patch.
"""

from __future__ import annotations

import random
import string
from typing import NamedTuple

from vlmbench.data.mini.drawing import COLORS, SHAPES, Canvas, Color, luma, text_width
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.words import words

from .scenes import TRAINING_PARTS

GLYPHS = tuple(map(chr, range(33, 127)))
"""Every printable character of ASCII but the space."""

PAGE_SIZES = ((96, 96), (96, 96), (96, 48), (64, 64))
SIZES = (12, 13, 13, 14, 14, 15, 16, 18, 20)
"""Type sizes in pixels."""

MIN_CONTRAST = 70
"""Least difference in luma, of 255, between a named ink and the background."""

ORDINALS = ("first", "second", "third", "fourth", "fifth")


class Colors(NamedTuple):
    """A background, and the range of channel values of inks that stand out from it."""

    ground: Color
    low: int
    high: int

    def ink(self, rng: random.Random) -> Color:
        """An ink: a named colour in half of the cases."""
        named = [name for name in COLORS if abs(luma(name) - luma(self.ground)) >= MIN_CONTRAST]
        return rng.choice(named) if rng.random() < 0.5 else _color(rng, self.low, self.high)


def filled_page(rng: random.Random) -> Canvas:
    """A small page filled with text, or now and then with shapes, for as many labels as fit."""
    width, height = rng.choice(PAGE_SIZES)
    colors = _colors(rng)
    canvas = Canvas(width, height, colors.ground)
    if rng.random() < (0.65 if (width, height) == (64, 64) else 0.15):
        for _ in range(rng.randint(1, 4)):
            radius = rng.randint(4, 14)
            x, y = rng.randint(radius, width - radius), rng.randint(radius, height - radius)
            canvas.shape(rng.choice(SHAPES), x, y, radius, colors.ink(rng))
        return canvas
    top = rng.randint(0, 8)
    while top + (size := rng.choice(SIZES)) <= height:
        face, ink, left = rng.choice(FACES["train"]), colors.ink(rng), rng.randint(0, 8)
        while left + text_width(text := some_text(rng), face, size) <= width:
            canvas.write(left, top, text, face, size, ink)
            left += text_width(text, face, size) + rng.randint(4, 10)
        top += size + rng.randint(1, 8)
    return canvas


def read_lines(rng: random.Random, max_lines: int) -> tuple[Canvas, list[tuple[str, str]]]:
    """A picture of one to `max_lines` lines, and for each the question that asks for it."""
    num_lines = rng.randint(1, max_lines)
    heights = [height for height in (32, 48, 96) if height >= 19 * num_lines]
    colors = _colors(rng)
    canvas = Canvas(96, rng.choice(heights), colors.ground)
    top = rng.randint(0, canvas.height - 19 * num_lines)
    lines = []
    for _ in range(num_lines):
        size, face = rng.randint(13, 16), rng.choice(FACES["train"])
        text = some_text(rng)
        if rng.random() < 0.4:
            text = f"{text} {some_text(rng)}"
        while text_width(text, face, size) > canvas.width - 4:
            text = text[:-1].rstrip()
        left = rng.randint(1, canvas.width - 2 - text_width(text, face, size))
        canvas.write(left, top, text, face, size, colors.ink(rng))
        lines.append(text)
        top += size + 3
    if num_lines == 1:
        return canvas, [("what is written here?", lines[0])]
    return canvas, [
        (f"what is the {ordinal} line?", text)
        for ordinal, text in zip(ORDINALS, lines, strict=False)
    ]


def some_text(rng: random.Random) -> str:
    """A word, a random string, a number or a code."""
    draw = rng.random()
    if draw < 0.45:
        text = rng.choice(words(rng.choice(TRAINING_PARTS)))
    elif draw < 0.6:
        text = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 7)))
    elif draw < 0.85:
        text = rng.choice((_whole, _price, _date, _code))(rng)
    else:
        text = "".join(rng.choices(GLYPHS, k=rng.randint(1, 5)))
    case = rng.random()
    return text.upper() if case < 0.12 else text.capitalize() if case < 0.3 else text


def _whole(rng: random.Random) -> str:
    return str(rng.randint(0, 10 ** rng.randint(1, 4)))


def _price(rng: random.Random) -> str:
    return f"{rng.choice(('', '', '$'))}{rng.randint(0, 99)}.{rng.randint(0, 99):02d}"


def _date(rng: random.Random) -> str:
    day, month = rng.randint(1, 28), rng.randint(1, 12)
    return f"{day}{rng.choice(('/', '-', '.'))}{month}"


def _code(rng: random.Random) -> str:
    return f"{rng.choice(string.ascii_uppercase)}{rng.choice(('', '-'))}{rng.randint(0, 999)}"


def _colors(rng: random.Random) -> Colors:
    draw = rng.random()
    if draw < 0.5:
        return Colors((250, 250, 250), 0, 60)
    if draw < 0.65:
        return Colors(_color(rng, 0, 80), 170, 255)
    return Colors(_color(rng, 170, 255), 0, 100)


def _color(rng: random.Random, low: int, high: int) -> tuple[int, int, int]:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)
