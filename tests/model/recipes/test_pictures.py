"""Pictures that only the recipe draws: their questions are true of what is on them."""

from __future__ import annotations

import random
from itertools import pairwise
from types import ModuleType

import pytest

from vlmbench.data.mini import textvqa
from vlmbench.data.mini.drawing import SHAPES, Box, rgb
from vlmbench.data.mini.objects import kinds
from vlmbench.data.mini.scenes import Part
from vlmbench.data.mini.words import words


@pytest.mark.parametrize("seed", range(5))
def test_a_sign_is_small_and_its_words_are_made_up(seed: int) -> None:
    canvas = textvqa.sign(random.Random(seed))
    assert max(canvas.width, canvas.height) <= 96
    texts: dict[Box, str] = {}
    for mark in canvas.marks:
        if mark.name not in SHAPES:
            texts[mark.line] = texts.get(mark.line, "") + mark.name
    written = {text.lower() for text in texts.values() if text.isalpha()}
    assert texts and written <= set(words("practice"))


@pytest.mark.parametrize("seed", range(20))
def test_shapes_are_listed_as_they_are_read(tiny: ModuleType, seed: int) -> None:
    canvas, ((_, listed), (_, count)) = tiny.described.shapes(random.Random(seed))
    everything = listed.split(", ")
    assert len(everything) == int(count) == len(canvas.marks)
    for mark in canvas.marks:
        middle = (mark.box.left + mark.box.right) // 2, (mark.box.top + mark.box.bottom) // 2
        is_hollow = canvas.image.getpixel(middle) != rgb(mark.color)
        part: Part = "practice" if is_hollow else "train"
        assert f"{mark.color} {mark.name}" in set(map(str, kinds(part)))
    for before, after in pairwise(mark.box for mark in canvas.marks):
        assert before.top < after.bottom, "no row stands above an earlier one"
        if after.left < before.right:
            assert after.top + after.bottom > before.top + before.bottom, "a new row"
    assert everything == [f"{mark.color} {mark.name}" for mark in canvas.marks]


@pytest.mark.parametrize("seed", range(20))
def test_a_shape_is_told_where_it_is(tiny: ModuleType, seed: int) -> None:
    """Read off the marks' boxes, whose middles may be a pixel off."""
    canvas, questions = tiny.described.places(random.Random(seed))
    middles = {
        f"{mark.color} {mark.name}": (
            (mark.box.left + mark.box.right) / 2,
            (mark.box.top + mark.box.bottom) / 2,
        )
        for mark in canvas.marks
    }
    assert 2 <= len(middles) == len(canvas.marks) and len(set(questions)) == len(questions) >= 2
    for question, answer in questions:
        if question.startswith("what color"):
            shape = question.removeprefix("what color is the ").rstrip("?")
            assert f"{answer} {shape}" in middles
            continue
        named = question.partition(" is the ")[2].rstrip("?")
        a, _, b = named.partition(" relative to the ")
        x, y = middles[a]
        if not b:
            row, column = answer.split()
            assert (y <= canvas.height / 2 + 1) if row == "top" else (y >= canvas.height / 2 - 1)
            assert (x <= canvas.width / 2 + 1) if column == "left" else (x >= canvas.width / 2 - 1)
        else:
            across, down = x - middles[b][0], y - middles[b][1]
            towards = {"left": -across, "right": across, "above": -down, "below": down}
            assert max(towards, key=towards.__getitem__) == answer


@pytest.mark.parametrize("seed", range(5))
def test_each_shape_is_told_by_its_colour_and_by_its_form(tiny: ModuleType, seed: int) -> None:
    canvas, questions = tiny.described.attributes(random.Random(seed))
    marks = [(str(mark.color), mark.name) for mark in canvas.marks]
    told = [(f"what color is the {shape}?", color) for color, shape in marks]
    told += [(f"what is the {color} shape?", shape) for color, shape in marks]
    assert sorted(questions) == sorted(told) and len(dict(questions)) == len(questions) >= 4


def test_bars_are_listed_from_left_to_right(tiny: ModuleType) -> None:
    image, ((question, listed),) = tiny.described.chart(random.Random(1))
    assert image.size in ((96, 96), (192, 192)) and "bars" in question
    colors, values = zip(*(bar.split() for bar in listed.split(", ")), strict=True)
    assert len(set(colors)) == len(colors) >= 2
    assert all(1 <= int(value) <= 9 for value in values)
