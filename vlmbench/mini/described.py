"""Pictures to learn seeing from: all that is in them is asked for at once.

Of the train part only. A list of everything teaches far more a picture than a benchmark's question.
"""

from __future__ import annotations

import random

from PIL import Image

from vlmbench.mini import bars, objects
from vlmbench.mini.drawing import Canvas
from vlmbench.mini.objects import Object, kinds

MAX_SHAPES = 9


def shapes(rng: random.Random) -> tuple[Canvas, list[tuple[str, str]]]:
    """One to nine shapes in rows, and the questions what and how many they are."""
    count = rng.randint(1, MAX_SHAPES)
    size = rng.choice((64, 64, 72, 80, 96, 96, 192))
    per_side = {1: 1, 2: 2, 3: 2, 4: 2}.get(count, 3) if size < 192 else 4
    if per_side < 3 and rng.random() < 0.5:
        per_side += 1
    side = size / per_side
    places = objects.cells(rng, size, per_side, count, fill=(0.4, 0.9))
    places.sort(key=lambda place: (place[1] // side, place[0]))
    placed = [Object(rng.choice(kinds("train")), *place) for place in places]
    listed = ", ".join(str(one.kind) for one in placed)
    return objects.draw(rng, size, placed), [
        ("what are the shapes from left to right, from top to bottom?", listed),
        ("how many shapes are there?", str(count)),
    ]


def chart(rng: random.Random) -> tuple[Image.Image, list[tuple[str, str]]]:
    """A bar chart, and the question for all its bars."""
    count = rng.randint(2, 4)
    if rng.random() < 0.6:
        drawn = bars.labelled(rng, "train", 96, count)
    else:
        drawn = bars.scaled(rng, "train", rng.choice((96, 192)), count)
    listed = ", ".join(f"{color} {value}" for color, value in drawn.values.items())
    return drawn.image, [("what are the values of the bars from left to right?", listed)]
