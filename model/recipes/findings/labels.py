"""Pictures whose every patch is labelled: what the vision tower learns from.

All are squares of a crop's size: pages full of words, shapes, and scenes of other aspect ratios
stretched to a square, as towers trained on pairs of pictures and texts have met them.
"""

from __future__ import annotations

import random
import string
from typing import Any

import numpy as np
from PIL import Image

from idefics2.train.dense_labels import LabelledPicture
from vlmbench.data.mini.drawing import Canvas, text_width
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.objects import COLORS, SHAPES

from .models import PATCH
from .scenes import INKS, MANY, NUM_FACES, SIDE, scene, shown_words

GRID = SIDE // PATCH
CLASSES = {name: index for index, name in enumerate(("", *string.ascii_lowercase, *SHAPES))}
"""Classes of half patches: the covering letter or shape; 0: background."""

COLOR_CLASSES = {name: index for index, name in enumerate(("", *COLORS))}
NUM_CLASSES = (len(CLASSES), len(CLASSES), len(COLOR_CLASSES), GRID + 1, GRID + 1)
"""Left half, right half, colour, row and column of a patch."""

SIZES = tuple(range(12, 18))
"""Full pages' type sizes in pixels."""

Labels = np.ndarray[Any, np.dtype[np.int64]]


def labelled(rng: random.Random) -> LabelledPicture:
    """A random picture."""
    kind = rng.choices(("page", "shapes", "slip", "large page"), (0.65, 0.15, 0.1, 0.1))[0]
    if kind == "page":
        canvas = _full_page(rng)
    else:
        family = {"shapes": "shapes", "slip": "slip", "large page": "page"}[kind]
        canvas = scene(rng, "train", family, "words", MANY).canvas  # type: ignore[arg-type]
    picture = canvas.image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return LabelledPicture(picture=picture, labels_NY=patch_labels(canvas), source=kind)


def _full_page(rng: random.Random) -> Canvas:
    """Lines of words in many colours, as many as fit."""
    canvas = Canvas(SIDE, SIDE, tuple(rng.randint(228, 255) for _ in range(3)))  # type: ignore[arg-type]
    top = rng.randint(0, 8)
    while top + (size := rng.choice(SIZES)) + 3 <= SIDE:
        face, left = rng.choice(FACES["train"][:NUM_FACES]), rng.randint(0, 12)
        while left + text_width(word := _word(rng), face, size) <= SIDE:
            canvas.write(left, top, word, face, size, rng.choice(INKS))
            left += text_width(word, face, size) + rng.randint(4, 10)
        top += size + rng.randint(1, 8)
    return canvas


def _word(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(shown_words("train"))
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 6)))


def patch_labels(canvas: Canvas) -> Labels:
    """Classes [patches, 5] of the canvas stretched to a square, row after row.

    A mark covers a half patch whose middle column it spans, in the rows of patches where it is at
    least half a patch high, or half of its own height.
    """
    across, down = SIDE / canvas.width, SIDE / canvas.height
    halves, colors = np.zeros((GRID, 2 * GRID), np.int64), np.zeros((GRID, GRID), np.int64)
    half = PATCH / 2
    for name, box, color, _ in canvas.marks:
        left, right = box.left * across, box.right * across
        top, bottom = box.top * down, box.bottom * down
        needed = min(half, (bottom - top) / 2)
        first = max(0, int(np.ceil((left - half / 2) / half)))
        last = int((right - half / 2) // half)
        for row in range(max(0, int(top // PATCH)), min(GRID, int(np.ceil(bottom / PATCH)))):
            if min(bottom, (row + 1) * PATCH) - max(top, row * PATCH) >= needed:
                halves[row, first : last + 1] = CLASSES[name]
                colors[row, first // 2 : last // 2 + 1] = COLOR_CLASSES[str(color)]
    rows, columns = np.mgrid[1 : GRID + 1, 1 : GRID + 1]
    parts = (halves.reshape(-1, 2), *(x.reshape(-1, 1) for x in (colors, rows, columns)))
    return np.concatenate(parts, 1)
