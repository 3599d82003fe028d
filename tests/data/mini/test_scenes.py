"""Drawn scenes: the same everywhere, divided in two parts, legible, and in the hub's columns."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vlmbench.data.mini import NUM_SCENES, TASKS, Part, scene
from vlmbench.data.mini.columns import COLUMNS, TASK_OF, pictures
from vlmbench.data.mini.drawing import Box, Canvas
from vlmbench.data.mini.drawn_rows import drawn_rows
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.words import divided, number, words
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Prediction
from vlmbench.task import loading, prompts

READING = ("textvqa", "docvqa")

QUESTIONS_AND_ANSWERS = {
    "vqav2": "491fef1d01df8934",
    "textvqa": "5fcff34f35c40caf",
    "docvqa": "49cfec10f50b9b63",
    "mmmu": "0e0856552b7f9241",
    "mathvista": "c496d454e7bf19ac",
    "mmbench": "34c6b287841e62af",
    "easy_vqa": "b4974e6e256e3ace",
}
"""Digests of all of a test part; a change that moves one also changes `scenes.SEED`."""

DIGEST = """
import hashlib, sys
from vlmbench.data.mini import scene
from vlmbench.data.mini.columns import pictures
digest = hashlib.sha256()
for task in sys.argv[1:]:
    for number in range(12):
        for row in scene(task, "train", number):
            images = [row.pop(column) for column in pictures(task)]
            digest.update(repr(sorted(row.items())).encode())
            for image in images:
                digest.update(image.tobytes() if image else b"none")
print(digest.hexdigest())
"""


class Sheet:
    """A canvas, and the texts that were written on it with their faces."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.texts: list[tuple[str, str]] = []

    @property
    def glyphs(self) -> list[Box]:
        return [mark.box for mark in self.canvas.marks if len(mark.name) == 1]


DrawSheet = Callable[[str, Part, int], tuple[Sheet, list[dict[str, Any]]]]


@pytest.fixture
def draw_sheet(monkeypatch: pytest.MonkeyPatch) -> DrawSheet:
    """A function: task, part and number -> the scene's sheet and rows."""
    sheets: dict[int, Sheet] = {}
    write = Canvas.write

    def recorded(self: Canvas, x: int, y: int, text: str, face: str, *rest: Any) -> Box:
        sheets.setdefault(id(self), Sheet(self)).texts.append((text, face))
        return write(self, x, y, text, face, *rest)

    monkeypatch.setattr(Canvas, "write", recorded)

    def draw(name: str, part: Part, index: int) -> tuple[Sheet, list[dict[str, Any]]]:
        sheets.clear()
        rows = scene(name, part, index)
        (sheet,) = sheets.values()
        return sheet, rows

    return draw


def scenes(number: int = 60) -> Iterator[tuple[Part, int]]:
    parts: tuple[Part, ...] = ("train", "test")
    return ((part, index) for part in parts for index in range(number))


def test_scenes_are_the_same_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", DIGEST, *READING, "mmmu", "mathvista", "mmbench"],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and found != {""}


@pytest.mark.parametrize("name", NUM_SCENES)
def test_the_test_part_is_the_pinned_one(name: str) -> None:
    if TASK_OF[name] == "vqav2":
        pytest.importorskip("easy_vqa")
    digest = hashlib.sha256()
    for index in range(min(NUM_SCENES[name], 300)):
        for row in scene(name, "test", index):
            kept = {column: row[column] for column in row if column not in pictures(name)}
            digest.update(json.dumps(kept, sort_keys=True).encode())
    assert digest.hexdigest()[:16] == QUESTIONS_AND_ANSWERS[name]


@pytest.mark.parametrize("name", NUM_SCENES)
def test_a_row_has_the_hubs_columns(name: str) -> None:
    if TASK_OF[name] == "vqav2":
        pytest.importorskip("easy_vqa")
    for part, index in scenes(3):
        for row in scene(name, part, index):
            assert set(row) == set(COLUMNS[TASK_OF[name]])


def test_the_columns_are_those_that_the_tests_of_the_hub_use(made_rows: Any) -> None:
    for name in TASKS:
        hub = made_rows(name, loading.find(name).splits[0].name)[0]
        assert set(hub) == set(COLUMNS[name])


@pytest.mark.parametrize("name", NUM_SCENES)
def test_a_samples_gold_answer_is_right(name: str) -> None:
    if TASK_OF[name] == "vqav2":
        pytest.importorskip("easy_vqa")
    found = loading.find(TASK_OF[name])
    for index in range(12):
        for row in drawn_rows(name, "train", index):
            sample = found.read(row)
            answer = prompts.gold(sample, found.form)
            said = Prediction(id=sample.id, response=answer)
            assert found.score(sample, said, "official").value == 1.0
            request = prompts.request(
                sample, form=found.form, style="idefics2", max_new_tokens=None
            )
            shown = [piece for piece in request.messages[-1].content if not isinstance(piece, str)]
            assert shown and all(max(piece.decode().size) <= 192 for piece in shown)
            assert all(piece.encoded().startswith(b"\x89PNG") for piece in shown)


@pytest.mark.parametrize("name", READING)
def test_glyphs_lie_within_the_picture_and_at_small_text_within_a_quarter(
    name: str, draw_sheet: DrawSheet
) -> None:
    for part, index in scenes():
        sheet, rows = draw_sheet(name, part, index)
        width, height = rows[0]["image"].size
        is_small = "small text" in (rows[0].get("image_classes") or rows[0]["question_types"])
        assert max(width, height) <= (192 if is_small else 96)
        for left, top, right, bottom in sheet.glyphs:
            assert left >= 0 and right <= width and top >= 0 and bottom <= height
            if is_small:
                assert not left < width // 2 < right and not top < height // 2 < bottom


@pytest.mark.parametrize("name", READING)
def test_texts_do_not_overlap(name: str, draw_sheet: DrawSheet) -> None:
    for part, index in scenes():
        glyphs = draw_sheet(name, part, index)[0].glyphs
        for i, one in enumerate(glyphs):
            for other in glyphs[i + 2 :]:  # neighbours in a word may touch
                across = min(one.right, other.right) - max(one.left, other.left)
                down = min(one.bottom, other.bottom) - max(one.top, other.top)
                assert across <= 3 or down <= 1


@pytest.mark.parametrize("name", READING)
def test_an_answer_is_drawn_and_a_question_is_asked_once(name: str, draw_sheet: DrawSheet) -> None:
    for part, index in scenes():
        sheet, rows = draw_sheet(name, part, index)
        for row in rows:
            assert any(row["answers"][0] in text for text, _ in sheet.texts)
        questions = [row["question"].lower() for row in rows]
        assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("name", READING)
def test_parts_share_no_answer_and_no_face(name: str, draw_sheet: DrawSheet) -> None:
    answers: dict[Part, set[str]] = {"train": set(), "test": set()}
    for part, index in scenes(150):
        sheet, rows = draw_sheet(name, part, index)
        answers[part] |= {row["answers"][0].lower() for row in rows}
        assert {face for _, face in sheet.texts} <= set(FACES[part])
    assert not answers["train"] & answers["test"] and min(map(len, answers.values())) > 100
    assert not set(FACES["train"]) & set(FACES["test"])


@pytest.mark.parametrize("name", READING)
def test_no_one_answer_is_worth_a_twentieth(name: str) -> None:
    found = loading.find(name)
    rows = [row for i in range(NUM_SCENES[name]) for row in drawn_rows(name, "test", i)]
    samples = [found.read(row) for row in rows]
    for answer in {sample.answers[0] for sample in samples[::6]}:
        said = Prediction(id="", response=answer)
        scores = [found.score(sample, said, "official").value for sample in samples]
        assert sum(scores) / len(scores) < 0.05


def test_lists_and_numbers_are_divided_one_to_five() -> None:
    import random

    assert set(words("train")).isdisjoint(words("test"))
    assert (len(words("train")), len(words("test"))) == (1_707, 341)
    assert divided(("a", "b", "c", "d", "e", "f", "g"), "test") == ("f",)
    assert divided(("a", "b", "c", "d", "e", "f", "g"), "train") == ("a", "b", "c", "d", "e", "g")
    rng = random.Random(0)
    assert {number(rng, "test", 1, 12) for _ in range(50)} == {5, 11}
    assert {number(rng, "train", 4, 7) for _ in range(50)} == {4, 6, 7}
    for part, low, high in (("test", 6, 10), ("train", 5, 5)):
        with pytest.raises(ValueError, match=f"no number of the {part} part"):
            number(rng, part, low, high)  # type: ignore[arg-type]  # mypy widens the tuple


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlmbench.data.mini import fonts

    fonts._folder.cache_clear()
    fonts.font.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(VlmbenchError, match=r"pip install matplotlib$"):
        scene("docvqa", "test", 0)
