"""A canvas for text and shapes that records the place of every glyph and shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw

from vlmbench.data.mini.fonts import font

COLORS = {
    "red": (220, 40, 40),
    "green": (30, 160, 60),
    "blue": (40, 70, 220),
    "yellow": (235, 205, 30),
    "orange": (245, 140, 20),
    "purple": (140, 50, 180),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
    "gray": (128, 128, 128),
    "brown": (125, 75, 35),
    "pink": (250, 150, 190),
    "teal": (0, 128, 128),
}
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "rectangle", "pentagon")

Color = str | tuple[int, int, int]


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class Mark(NamedTuple):
    """A character or a shape on the canvas, with its place."""

    name: str
    box: Box
    color: Color
    line: Box
    """Box of the character's line of text; for a shape its own box."""


@dataclass(slots=True)
class Canvas:
    """A picture, and the marks drawn on it so far."""

    width: int
    height: int
    background: Color = "white"
    marks: list[Mark] = field(default_factory=list)
    """Glyphs and shapes in the order in which they were drawn."""
    image: Image.Image = field(init=False)
    _draw: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (self.width, self.height), rgb(self.background))
        self._draw = ImageDraw.Draw(self.image)

    def write(self, x: int, y: int, text: str, face: str, size: int, color: Color = "black") -> Box:
        """Draws a line of text with its top left corner at (x, y), and returns its box."""
        used = font(face, size)
        self._draw.text((x, y), text, font=used, fill=rgb(color))
        left, top, right, bottom = used.getbbox(text)
        line = Box(round(x + left), round(y + top), round(x + right), round(y + bottom))
        offset = 0.0
        for character in text:
            advance, left, top, right, bottom = _glyph(character, face, size)
            if not character.isspace():
                start = x + offset
                box = Box(
                    round(start + left), round(y + top), round(start + right), round(y + bottom)
                )
                self.marks.append(Mark(character, box, color, line))
            offset += advance
        return line

    def shape(
        self, kind: str, x: int, y: int, radius: int, color: Color, *, is_hollow: bool = False
    ) -> Box:
        """Draws one of SHAPES within `radius` of a centre, filled or hollow; returns its box."""
        outline = points(kind, x, y, radius)
        fill, edge = (None, rgb(color)) if is_hollow else (rgb(color), None)
        width = max(2, radius // 4) if is_hollow else 1
        if outline is None:
            box = (x - radius, y - radius, x + radius, y + radius)
            self._draw.ellipse(box, fill=fill, outline=edge, width=width)
        else:
            self._draw.polygon(outline, fill=fill, outline=edge, width=width)
        covered = Box(x - radius, y - radius, x + radius + 1, y + radius + 1)
        self.marks.append(Mark(kind, covered, color, covered))
        return covered

    def line(
        self, x0: int, y0: int, x1: int, y1: int, color: Color = "black", width: int = 1
    ) -> None:
        self._draw.line((x0, y0, x1, y1), fill=rgb(color), width=width)

    def rectangle(
        self, box: Box, fill: Color | None = None, outline: Color | None = None, width: int = 1
    ) -> None:
        """Draws a rectangle that covers the box; it leaves no mark."""
        self._draw.rectangle(
            (box.left, box.top, box.right - 1, box.bottom - 1),
            fill=None if fill is None else rgb(fill),
            outline=None if outline is None else rgb(outline),
            width=width,
        )


def rgb(color: Color) -> tuple[int, int, int]:
    return COLORS[color] if isinstance(color, str) else color


def luma(color: Color) -> float:
    """Luma of a colour, from 0 to 255."""
    red, green, blue = rgb(color)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def text_width(text: str, face: str, size: int) -> int:
    """Width of a line of text in pixels."""
    return math.ceil(font(face, size).getlength(text))


def ink(text: str, face: str, size: int) -> Box:
    """Box of a line of text whose top left corner is (0, 0)."""
    left, top, right, bottom = font(face, size).getbbox(text)
    return Box(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))


@cache
def _glyph(character: str, face: str, size: int) -> tuple[float, float, float, float, float]:
    """A glyph's advance, and its box at (0, 0)."""
    used = font(face, size)
    return used.getlength(character), *used.getbbox(character)


def points(kind: str, x: int, y: int, radius: int) -> list[tuple[float, float]] | None:
    """The corners of a shape; None: it is a circle.

    Raises: KeyError for a kind that is none of SHAPES.
    """
    if kind == "circle":
        return None
    return [(x + radius * across, y + radius * down) for across, down in _CORNERS[kind]]


def _regular(corners: int, turn: float, inner: float = 1.0) -> list[tuple[float, float]]:
    """Corners on a circle, clockwise from above; between them, points at `inner` where not 1."""
    radii = (1.0,) if inner == 1.0 else (1.0, inner)
    count = corners * len(radii)
    angles = [2 * math.pi * (i / count + turn) - math.pi / 2 for i in range(count)]
    return [
        (radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a))
        for i, a in enumerate(angles)
    ]


_THIRD = 1 / 3
_CORNERS = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "rectangle": [(-1.0, -0.5), (1.0, -0.5), (1.0, 0.5), (-1.0, 0.5)],
    "triangle": [(0.0, -0.95), (0.95, 0.8), (-0.95, 0.8)],
    "diamond": _regular(4, 0.0),
    "pentagon": _regular(5, 0.0),
    "star": _regular(5, 0.0, inner=0.4),
    "cross": [
        (-_THIRD, -1.0),
        (_THIRD, -1.0),
        (_THIRD, -_THIRD),
        (1.0, -_THIRD),
        (1.0, _THIRD),
        (_THIRD, _THIRD),
        (_THIRD, 1.0),
        (-_THIRD, 1.0),
        (-_THIRD, _THIRD),
        (-1.0, _THIRD),
        (-1.0, -_THIRD),
        (-_THIRD, -_THIRD),
    ],
}
