"""Coloured shapes in a picture, far enough apart to be told apart, and how they lie."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from vlmbench.data.mini.drawing import Canvas, Color
from vlmbench.data.mini.scenes import Part, has

COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "gray", "pink")
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
RELATIONS = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
"""A direction to its opposite."""


class Kind(NamedTuple):
    color: str
    shape: str
    is_hollow: bool = False
    """True: drawn as an outline."""

    def __str__(self) -> str:
        return f"{self.color} {self.shape}"


class Object(NamedTuple):
    kind: Kind
    x: int
    y: int
    radius: int


@cache
def kinds(part: Part) -> tuple[Kind, ...]:
    """Colours with shapes: of every colour two shapes, of every shape three colours are "test".

    To practise: the outlines of all of them.
    """
    return tuple(
        Kind(color, shape, is_hollow=part == "practice")
        for i, color in enumerate(COLORS)
        for j, shape in enumerate(SHAPES)
        if has(part, i + j)
    )


def distinct(rng: random.Random, part: Part, count: int) -> list[Kind]:
    """Kinds that share neither colour nor shape."""
    chosen: list[Kind] = []
    while len(chosen) < count:
        kind = rng.choice(kinds(part))
        if all(kind.color != other.color and kind.shape != other.shape for other in chosen):
            chosen.append(kind)
    return chosen


def paper(rng: random.Random) -> Color:
    """A background from which every one of COLORS stands out."""
    if rng.random() < 0.5:
        return (255, 255, 255)
    return (rng.randint(225, 255), rng.randint(225, 255), rng.randint(225, 255))


def cells(
    rng: random.Random, size: int, per_side: int, count: int, fill: tuple[float, float] = (0.7, 0.9)
) -> list[tuple[int, int, int]]:
    """Centres and radii in cells of a square grid, at random places within them.

    `fill`: the least and greatest share of a cell's side that a shape takes.
    """
    side = size / per_side
    places = []
    for cell in rng.sample(range(per_side * per_side), count):
        radius = int(side * rng.uniform(*fill) / 2)
        room = max(0.0, side / 2 - radius - 1) * 0.8
        row, column = divmod(cell, per_side)
        x = (column + 0.5) * side + rng.uniform(-room, room)
        y = (row + 0.5) * side + rng.uniform(-room, room)
        places.append((round(x), round(y), radius))
    return places


def draw(
    rng: random.Random, size: int, objects: Sequence[Object], background: Color | None = None
) -> Canvas:
    canvas = Canvas(size, size, background or paper(rng))
    for kind, x, y, radius in objects:
        canvas.shape(kind.shape, x, y, radius, kind.color, is_hollow=kind.is_hollow)
    return canvas


def lies(a: Object, b: Object, relation: str) -> bool | None:
    """True if `a` lies in `relation` to `b`; None: the shapes overlap on that axis."""
    is_vertical = relation in ("above", "below")
    distance = (a.y - b.y) if is_vertical else (a.x - b.x)
    if abs(distance) < 0.6 * (a.radius + b.radius):
        return None
    return (distance < 0) == (relation in ("above", "left of"))


def plural(shape: str) -> str:
    return f"{shape}es" if shape == "cross" else f"{shape}s"
