"""What holds for the drawn scenes of four tasks: same each time, parts apart, few words."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from vlmbench.data.mini import NUM_SCENES, scene
from vlmbench.data.mini.drawing import Canvas, rgb
from vlmbench.data.mini.objects import COLORS, SHAPES, Kind, kinds
from vlmbench.data.mini.words import words

TASKS = ("vqav2", "mmmu", "mathvista", "mmbench")
PICTURE = Image.Image

Rows = Callable[..., list[dict[str, Any]]]


def content(task: str, number: int) -> list[list[Any]]:
    rows = scene(task, "test", number)
    return [[v.tobytes() if isinstance(v, PICTURE) else v for v in r.values()] for r in rows]


@pytest.mark.parametrize("task", [*TASKS, "easy_vqa"])
def test_a_scene_is_the_same_whenever_it_is_drawn(task: str) -> None:
    for number in range(20):
        random.seed(number)  # others' random numbers do not matter
        assert content(task, number) == content(task, number)
        random.random()


def test_a_scene_is_the_same_in_another_process() -> None:
    code = (
        "import zlib; from vlmbench.data.mini import scene\n"
        f"for task in {TASKS}:\n"
        "    rows = [r for i in range(30) for r in scene(task, 'test', i)]\n"
        "    print(zlib.crc32(repr([[v.tobytes() if hasattr(v, 'tobytes') else v"
        " for v in r.values()] for r in rows]).encode()))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] and len(outputs[0].split()) == len(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_no_kind_of_shape_is_in_both_parts(task: str, record: Any) -> None:
    shown = {}
    for part in ("train", "test"):
        record.shapes.clear()
        for number in range(150):
            scene(task, part, number)
        shown[part] = {shape[:2] for shapes in record.shapes.values() for shape in shapes}
    assert shown["train"] and shown["test"]
    assert shown["train"].isdisjoint(shown["test"])


def test_every_colour_and_every_shape_is_in_both_parts() -> None:
    test, train = kinds("test"), kinds("train")
    assert set(test) | set(train) == {Kind(c, s) for c in COLORS for s in SHAPES}
    assert set(test).isdisjoint(train)
    for part in (test, train):
        assert {kind.color for kind in part} == set(COLORS)
        assert {kind.shape for kind in part} == set(SHAPES)


def test_practice_has_the_outline_of_every_shape_in_every_colour() -> None:
    outlines = kinds("practice")
    assert {kind[:2] for kind in outlines} == {(c, s) for c in COLORS for s in SHAPES}
    assert all(kind.is_hollow for kind in outlines)
    assert not any(kind.is_hollow for part in ("train", "test") for kind in kinds(part))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_outline_leaves_the_middle_free(shape: str) -> None:
    for is_hollow, color in ((False, rgb("red")), (True, rgb("white"))):
        canvas = Canvas(64, 64)
        canvas.shape(shape, 32, 32, 20, "red", is_hollow=is_hollow)
        assert canvas.image.getpixel((32, 32)) == color
        colors = canvas.image.getcolors()
        assert colors is not None and rgb("red") in {color for _, color in colors}


def test_made_up_words_look_like_words_and_are_none() -> None:
    made, listed = words("practice"), {*words("train"), *words("test")}
    assert len(made) == len(set(made)) == 20_000 and listed.isdisjoint(made)
    assert all(3 <= len(word) <= 8 and word.isalpha() and word.islower() for word in made)
    pairs = {word[i : i + 2] for word in words("train") for i in range(len(word) - 1)}
    assert all(word[i : i + 2] in pairs for word in made for i in range(len(word) - 1))


@pytest.mark.parametrize("task", TASKS)
def test_no_written_word_is_in_both_parts(task: str, record: Any) -> None:
    written = {}
    for part in ("train", "test", "practice"):
        record.texts.clear()
        for number in range(200):
            scene(task, part, number)
        texts = {text for texts in record.texts.values() for text in texts}
        written[part] = {text for text in texts if text.isalpha()}
    assert written["test"].isdisjoint(written["train"] | written["practice"])


def test_no_value_of_a_bar_is_asked_for_in_both_parts(rows: Rows) -> None:
    train, test = (
        {
            (row["question"], row["answer"])
            for row in rows("mathvista", part, 600)
            if row["question"].startswith("what is the value")
        }
        for part in ("train", "test")
    )
    assert len(train) > 20 and len(test) > 15
    assert train.isdisjoint(test)


def test_no_rectangle_is_measured_in_both_parts(record: Any) -> None:
    measured = {}
    for part in ("train", "test", "practice"):
        drawn = [scene("mathvista", part, number)[0] for number in range(300)]
        pictures = [row["decoded_image"] for row in drawn if "rectangle" in row["question"]]
        measured[part] = {tuple(record.texts_of(picture)) for picture in pictures}
    assert measured["train"] and measured["test"]
    assert measured["test"].isdisjoint(measured["train"] | measured["practice"])


@pytest.mark.parametrize("task", TASKS)
def test_ids_are_unique_and_rows_many_enough(task: str, rows: Rows) -> None:
    column = {"vqav2": "question_id", "mmmu": "id", "mathvista": "pid", "mmbench": "index"}[task]
    drawn = rows(task, "test", NUM_SCENES[task])
    assert len({row[column] for row in drawn}) == len(drawn) >= 200


def test_all_questions_together_use_few_words(rows: Rows) -> None:
    asked: set[str] = set()
    for task in TASKS:
        for part in ("train", "test"):
            for row in rows(task, part, 300):
                question = re.sub(r"is the word \w+\?", "is the word?", row["question"])
                asked |= set(re.findall("[a-z]+", f"{question} {row.get('hint', '')}"))
    assert 50 < len(asked) < 250


@pytest.mark.parametrize("task", TASKS)
def test_pictures_are_small_and_rgb(task: str, rows: Rows) -> None:
    for row in rows(task, "train", 200):
        for value in row.values():
            if isinstance(value, PICTURE):
                assert value.mode == "RGB"
                assert 32 <= value.width <= 192 and 32 <= value.height <= 192
