"""Labels of patches and cells: what was drawn there."""

from __future__ import annotations

import random
from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vlmbench.data.mini.drawing import Canvas


def names(tiny: ModuleType, labels: np.ndarray[Any, Any]) -> list[list[str]]:
    found = list(tiny.labels.CLASSES)
    return [[found[label] for label in row] for row in labels.tolist()]


def test_a_cell_has_its_characters_in_order_and_a_shape_is_in_one(tiny: ModuleType) -> None:
    canvas = Canvas(96, 96)
    line = canvas.write(26, 40, "ill by", "DejaVuSans", 14, "red")
    canvas.shape("star", 60, 80, 12, (1, 2, 3))
    canvas.shape("circle", 31, (line.top + line.bottom) // 2, 12, "blue")  # under the text
    labels = tiny.labels.cell_labels(canvas)
    assert labels.shape == (64, tiny.labels.SLOTS + 1)
    cells = names(tiny, labels[:, : tiny.labels.SLOTS])
    row = (line.top + line.bottom) // 2 // 12
    written = {index: cell for index, cell in enumerate(cells) if any(cell)}
    assert set(written) == {row * 8 + 2, row * 8 + 3, row * 8 + 4, 6 * 8 + 5}
    texts = ["".join(written[row * 8 + column]) for column in (2, 3, 4)]
    assert "".join(texts) == "illby" and texts[0].startswith("il")
    assert written[6 * 8 + 5] == ["star", "", "", ""]
    assert {labels[row * 8 + column, -1] for column in (2, 3, 4)} == {
        tiny.labels.COLOR_CLASSES["red"]
    }
    assert labels[6 * 8 + 5, -1] == -1, "a colour without a name is no label"
    assert np.count_nonzero(labels[:, -1]) == 4


@pytest.mark.parametrize("seed", range(20))
def test_labels_have_every_glyph_that_is_wide_enough(tiny: ModuleType, seed: int) -> None:
    canvas, questions = tiny.lines.read_lines(random.Random(seed), 4)
    of_cells, of_patches = tiny.labels.cell_labels(canvas), tiny.labels.patch_labels(canvas)
    texts = "".join("".join(answer.split()) for _, answer in questions)
    assert "".join(mark.name for mark in canvas.marks) == texts
    slots = of_cells[:, : tiny.labels.SLOTS]
    of_slots = [name for row in names(tiny, slots) for name in row if name]
    assert Counter(of_slots) <= Counter(texts) and len(of_slots) >= 0.9 * len(texts)
    wide = {mark.name for mark in canvas.marks if mark.box.right - mark.box.left >= 6}
    for labels in (slots, of_patches[:, :2]):
        assert wide <= {name for row in names(tiny, labels) for name in row}
    assert of_patches.shape == (canvas.width * canvas.height // 64, 3)
