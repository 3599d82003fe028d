"""Labelled pictures for the vision tower and the resampler: what is on each patch, in each cell."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from idefics2.train.dense_labels import UNLABELLED, LabelledPicture
from vlmbench.data.mini import textvqa
from vlmbench.data.mini.drawing import COLORS, SHAPES, Canvas, Mark

from . import described, lines
from .mixture import MAX_LINES
from .sizes import CELLS, PATCH

CLASSES = {name: index for index, name in enumerate(("", *lines.GLYPHS, *SHAPES))}
"""Classes of half a patch, or of a slot of a cell: the character or shape; 0 is background."""

COLOR_CLASSES = {name: index for index, name in enumerate(("", *COLORS))}
"""Classes of the colour of a patch or a cell; 0 is background."""

SLOTS = 4
"""Characters of a cell, from left to right, that its latent learns."""

Labels = np.ndarray[Any, np.dtype[np.int64]]


def labelled_by_patch(seed: str, index: int) -> LabelledPicture:
    """A page of text or shapes, with the labels of its patches."""
    canvas = lines.filled_page(random.Random(f"{seed}/{index}"))
    return LabelledPicture(picture=canvas.image, labels_NY=patch_labels(canvas), source="page")


def labelled_by_cell(seed: str, index: int) -> LabelledPicture:
    """A page, lines, a sign or shapes, with the labels of the picture's cells."""
    rng = random.Random(f"{seed}/{index}")
    kind = rng.choices(("page", "lines", "sign", "shapes"), (0.35, 0.3, 0.2, 0.15))[0]
    if kind == "page":
        canvas = lines.filled_page(rng)
    elif kind == "sign":
        canvas = textvqa.sign(rng)
    else:
        canvas = (lines.read_lines(rng, MAX_LINES) if kind == "lines" else described.shapes(rng))[0]
    return LabelledPicture(picture=canvas.image, labels_NY=cell_labels(canvas), source=kind)


def patch_labels(canvas: Canvas) -> Labels:
    """Classes of each patch's left half, right half and colour, row after row.

    A mark covers a half whose middle column it spans, in the rows of patches where it is at least
    half a patch high, or half of its own height. A colour without a name is no label.
    """
    rows, columns = canvas.height // PATCH, canvas.width // PATCH
    halves = np.zeros((rows, 2 * columns), np.int64)
    colors = np.zeros((rows, columns), np.int64)
    half = PATCH // 2
    for name, box, color, _ in canvas.marks:
        needed = min(half, (box.bottom - box.top) / 2)
        first, last = (
            max(0, -(-(box.left - half // 2) // half)),
            (box.right - 1 - half // 2) // half,
        )
        color_class = COLOR_CLASSES[color] if isinstance(color, str) else UNLABELLED
        for row in range(max(0, box.top // PATCH), min(rows, -(-box.bottom // PATCH))):
            top = row * PATCH
            if min(box.bottom, top + PATCH) - max(box.top, top) >= needed:
                halves[row, first : last + 1] = CLASSES[name]
                colors[row, first // 2 : last // 2 + 1] = color_class
    return np.concatenate([halves.reshape(-1, 2), colors.reshape(-1, 1)], 1)


def cell_labels(canvas: Canvas) -> Labels:
    """Classes of each cell's characters, from left to right, and of their colour, row after row.

    A character is in the column that its own middle is in, and in the row of its line's middle. A
    shape is in one cell too, unless characters are written there.
    """
    rows, columns = CELLS
    cells: dict[int, list[Mark]] = {}
    for mark in canvas.marks:
        row = (mark.line.top + mark.line.bottom) * rows // (2 * canvas.height)
        column = (mark.box.left + mark.box.right) * columns // (2 * canvas.width)
        row, column = max(0, min(rows - 1, row)), max(0, min(columns - 1, column))
        cells.setdefault(row * columns + column, []).append(mark)
    labels = np.zeros((rows * columns, SLOTS + 1), np.int64)
    for cell, marks in cells.items():
        written = [mark for mark in marks if mark.name not in SHAPES] or marks[-1:]
        written.sort(key=lambda mark: mark.box.left + mark.box.right)
        for slot, mark in enumerate(written[:SLOTS]):
            labels[cell, slot] = CLASSES[mark.name]
        color = written[0].color
        labels[cell, SLOTS] = COLOR_CLASSES[color] if isinstance(color, str) else UNLABELLED
    return labels
