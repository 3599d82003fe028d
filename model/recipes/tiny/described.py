"""Pictures with questions for all that is in them, which teach more than a benchmark's question.

None has the test part's combinations.
"""

from __future__ import annotations

import itertools
import random

from PIL import Image

from vlmbench.data.mini import bars, objects
from vlmbench.data.mini.drawing import Canvas
from vlmbench.data.mini.objects import Object, kinds

from .scenes import TRAINING_PARTS

MAX_SHAPES = 9
MAX_PLACES = 8


def shapes(rng: random.Random) -> tuple[Canvas, list[tuple[str, str]]]:
    """One to nine shapes in rows, with the questions what and how many they are."""
    count = rng.randint(1, MAX_SHAPES)
    size = rng.choice((64, 64, 72, 80, 96, 96, 192))
    per_side = {1: 1, 2: 2, 3: 2, 4: 2}.get(count, 3) if size < 192 else 4
    if per_side < 3 and rng.random() < 0.5:
        per_side += 1
    side = size / per_side
    places = objects.cells(rng, size, per_side, count, fill=(0.4, 0.9))
    places.sort(key=lambda place: (place[1] // side, place[0]))
    found = kinds(rng.choice(TRAINING_PARTS))
    placed = [Object(rng.choice(found), *place) for place in places]
    listed = ", ".join(str(one.kind) for one in placed)
    return objects.draw(rng, size, placed), [
        ("what are the shapes from left to right, from top to bottom?", listed),
        ("how many shapes are there?", str(count)),
    ]


def chart(rng: random.Random) -> tuple[Image.Image, list[tuple[str, str]]]:
    """A bar chart, with the question for all its bars."""
    count, part = rng.randint(2, 4), rng.choice(TRAINING_PARTS)
    if rng.random() < 0.6:
        drawn = bars.labelled(rng, part, 96, count)
    else:
        drawn = bars.scaled(rng, part, rng.choice((96, 192)), count)
    listed = ", ".join(f"{color} {value}" for color, value in drawn.values.items())
    return drawn.image, [("what are the values of the bars from left to right?", listed)]


def places(rng: random.Random) -> tuple[Canvas, list[tuple[str, str]]]:
    """Two to four different shapes, with questions for their places, alone and relative."""
    size, placed = _different(rng)
    questions = [(f"where in the picture is the {one.kind}?", _corner(one, size)) for one in placed]
    for a, b in itertools.permutations(placed, 2):
        if direction := _direction(a, b):
            questions.append((f"where is the {a.kind} relative to the {b.kind}?", direction))
    questions += [(f"what color is the {one.kind.shape}?", one.kind.color) for one in placed[:1]]
    return objects.draw(rng, size, placed), rng.sample(questions, min(MAX_PLACES, len(questions)))


def attributes(rng: random.Random) -> tuple[Canvas, list[tuple[str, str]]]:
    """Two to four different shapes, with questions for the colour of each, and the reverse."""
    size, placed = _different(rng)
    questions = [(f"what color is the {one.kind.shape}?", one.kind.color) for one in placed]
    questions += [(f"what is the {one.kind.color} shape?", one.kind.shape) for one in placed]
    return objects.draw(rng, size, placed), questions


def _different(rng: random.Random) -> tuple[int, list[Object]]:
    """A picture's side, and two to four objects in it that share neither colour nor shape."""
    size = rng.choice((64, 72, 80, 96, 96, 192))
    chosen = objects.distinct(rng, rng.choice(TRAINING_PARTS), rng.randint(2, 4))
    per_side = 2 if size < 192 else 4
    found = objects.cells(rng, size, per_side, len(chosen), fill=(0.4, 0.7))
    return size, [Object(kind, *place) for kind, place in zip(chosen, found, strict=True)]


def _corner(one: Object, size: int) -> str:
    return f"{'top' if 2 * one.y < size else 'bottom'} {'left' if 2 * one.x < size else 'right'}"


def _direction(a: Object, b: Object) -> str | None:
    """Direction from `b` to `a`; None: neither clearly horizontal nor clearly vertical."""
    across, down = a.x - b.x, a.y - b.y
    if abs(across) > 2 * abs(down):
        return "left" if across < 0 else "right"
    if abs(down) > 2 * abs(across):
        return "above" if down < 0 else "below"
    return None
