"""Bar charts of coloured bars, whose values stand on the bars or are read off a scale."""

from __future__ import annotations

import random
from typing import NamedTuple

from PIL import Image

from vlmbench.data.mini.drawing import Box, Canvas, text_width
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.objects import COLORS
from vlmbench.data.mini.scenes import Part, has

SCALE = 9
"""The greatest value of a bar."""

COLORS_OF_BARS = tuple(color for color in COLORS if color not in ("black", "gray"))  # as the axes


class Chart(NamedTuple):
    values: dict[str, int]
    """Colour to value, from left to right; no two are equal."""

    image: Image.Image


def values(rng: random.Random, part: Part, count: int) -> dict[str, int]:
    """Colours with values; a third of the combinations are the test part's, practice has all."""
    order = rng.sample(COLORS_OF_BARS, len(COLORS_OF_BARS))
    chosen: dict[str, int] = {}
    while len(chosen) < count:
        color, value = order[len(chosen)], rng.randint(1, SCALE)
        if has(part, COLORS_OF_BARS.index(color) + value) and value not in chosen.values():
            chosen[color] = value
    return chosen


def labelled(rng: random.Random, part: Part, size: int, count: int) -> Chart:
    """A chart with each bar's value above it."""
    shown = values(rng, part, count)
    canvas = Canvas(size, size)
    face, type_size = rng.choice(FACES[part]), rng.randint(13, 16)
    frame = Box(3, type_size + 4, size - 3, size - 4)
    for color, box in _bars(rng, part, canvas, frame, shown).items():
        text = str(shown[color])
        left = (box.left + box.right - text_width(text, face, type_size)) // 2
        canvas.write(left, box.top - round(1.25 * type_size), text, face, type_size)
    return Chart(shown, canvas.image)


def scaled(rng: random.Random, part: Part, size: int, count: int) -> Chart:
    """A chart with a scale of every third value at the left, and a line for each value."""
    shown = values(rng, part, count)
    canvas = Canvas(size, size)
    face, type_size = rng.choice(FACES[part]), 12
    frame = Box(14, 10, size - 3, size - 8)
    for value in range(SCALE + 1):
        y = frame.bottom - _height(frame, value)
        is_named = value % 3 == 0
        canvas.line(frame.left, y, frame.right, y, (140, 140, 140) if is_named else (225, 225, 225))
        if is_named:
            canvas.write(2, y - round(0.62 * type_size), str(value), face, type_size)
    _bars(rng, part, canvas, frame, shown)
    return Chart(shown, canvas.image)


def _bars(
    rng: random.Random, part: Part, canvas: Canvas, frame: Box, shown: dict[str, int]
) -> dict[str, Box]:
    slot = (frame.right - frame.left) / len(shown)
    width = min(slot - 3, 22) * rng.uniform(0.75, 1)
    boxes = {}
    for i, (color, value) in enumerate(shown.items()):
        middle = frame.left + (i + 0.5) * slot
        boxes[color] = Box(
            round(middle - width / 2),
            frame.bottom - _height(frame, value),
            round(middle + width / 2),
            frame.bottom,
        )
        bar(canvas, part, boxes[color], color)
    canvas.line(frame.left, frame.bottom, frame.right, frame.bottom)
    return boxes


def bar(canvas: Canvas, part: Part, box: Box, color: str) -> None:
    """Draws a bar: filled, or as an outline in the practice part."""
    if part == "practice":
        canvas.rectangle(box, outline=color, width=2)
    else:
        canvas.rectangle(box, color)


def _height(frame: Box, value: int) -> int:
    return round((frame.bottom - frame.top) * value / SCALE)
