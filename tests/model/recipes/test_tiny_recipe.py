"""The recipe of the bundled checkpoint: its labels, and that its steps teach something."""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from idefics2 import Idefics2, load
from idefics2.train import Conversation, Recipe, train
from idefics2.train.log import read_log
from idefics2.train.recipe_loading import load_recipes
from vlmbench.data.mini import textvqa
from vlmbench.data.mini.drawing import SHAPES, Box, Canvas, rgb
from vlmbench.data.mini.objects import kinds
from vlmbench.data.mini.scenes import Part
from vlmbench.data.mini.stream import DrawnPicture, exercises, samples
from vlmbench.data.mini.words import words
from vlmbench.schema import Prediction, Sample
from vlmbench.task import prompts
from vlmbench.task.loading import find

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def tiny() -> ModuleType:
    package = load_recipes(ROOT / "model" / "recipes" / "tiny")
    return sys.modules[f"{package.__name__}.recipe"]


def names(tiny: ModuleType, labels: np.ndarray[Any, Any]) -> list[list[str]]:
    found = list(tiny.CLASSES)
    return [[found[label] for label in row] for row in labels.tolist()]


def test_a_cell_has_its_characters_in_order_and_a_shape_is_in_one(tiny: ModuleType) -> None:
    canvas = Canvas(96, 96)
    line = canvas.write(26, 40, "ill by", "DejaVuSans", 14, "red")
    canvas.shape("star", 60, 80, 12, (1, 2, 3))
    canvas.shape("circle", 31, (line.top + line.bottom) // 2, 12, "blue")  # under the text
    labels = tiny.cell_labels(canvas)
    assert labels.shape == (64, tiny.SLOTS + 1)
    cells = names(tiny, labels[:, : tiny.SLOTS])
    row = (line.top + line.bottom) // 2 // 12
    written = {index: cell for index, cell in enumerate(cells) if any(cell)}
    assert set(written) == {row * 8 + 2, row * 8 + 3, row * 8 + 4, 6 * 8 + 5}
    texts = ["".join(written[row * 8 + column]) for column in (2, 3, 4)]
    assert "".join(texts) == "illby" and texts[0].startswith("il")
    assert written[6 * 8 + 5] == ["star", "", "", ""]
    assert {labels[row * 8 + column, -1] for column in (2, 3, 4)} == {tiny.COLOR_CLASSES["red"]}
    assert labels[6 * 8 + 5, -1] == -1, "a colour without a name is no label"
    assert np.count_nonzero(labels[:, -1]) == 4


@pytest.mark.parametrize("seed", range(20))
def test_labels_have_every_glyph_that_is_wide_enough(tiny: ModuleType, seed: int) -> None:
    canvas, questions = tiny.lines.read_lines(random.Random(seed), 4)
    of_cells, of_patches = tiny.cell_labels(canvas), tiny.patch_labels(canvas)
    texts = "".join("".join(answer.split()) for _, answer in questions)
    assert "".join(mark.name for mark in canvas.marks) == texts
    of_slots = [name for row in names(tiny, of_cells[:, : tiny.SLOTS]) for name in row if name]
    assert Counter(of_slots) <= Counter(texts) and len(of_slots) >= 0.9 * len(texts)
    wide = {mark.name for mark in canvas.marks if mark.box.right - mark.box.left >= 6}
    for labels in (of_cells[:, : tiny.SLOTS], of_patches[:, :2]):
        assert wide <= {name for row in names(tiny, labels) for name in row}
    assert of_patches.shape == (canvas.width * canvas.height // 64, 3)


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


def about_colours(part: Part, number: int) -> list[Sample]:
    """The questions for the colour of a picture of easy-VQA; another picture's if it has none."""
    for other in count(number * 7):
        asked = [
            sample
            for sample in samples("easy_vqa", part, other)
            if sample.breakdown["question_type"] == ("easy-vqa color",)
        ]
        if asked:
            return asked
    raise AssertionError


def without_picture(sample: Sample) -> Sample:
    return replace(sample, images={1: DrawnPicture(Image.new("RGB", (64, 64), "white"))})


def test_three_hundred_steps_from_nothing_teach_colours(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "WIDTH", 64)

    def draw(index: int) -> Conversation:
        asked = [(sample, "") for sample in about_colours("train", index)[:2]]
        told: Conversation = tiny.conversation(
            asked, "short_answer", "colours", random.Random(index)
        )
        return replace(told, split=False)

    stage = replace(
        tiny.last_stage(), draw=draw, num_steps=300, batch_size=16, evaluate=None, log_every=30
    )
    trained = train(
        Recipe(name="colours", start=tiny.start, stages=(stage,)), tmp_path, is_quiet=True
    )
    losses = [record["loss"] for record in read_log(tmp_path / "log.jsonl")]
    asked = [about_colours("test", number)[0] for number in range(40)]
    (untrained, processor), (model, _) = load(tmp_path / "start"), load(trained)
    whole = replace(processor, images=replace(processor.images, split=False))

    def score(model: Idefics2, samples: list[Sample]) -> float:
        return float(tiny.mean_score(model, whole, "vqav2", samples))

    scores = [score(untrained, asked), score(model, asked)]
    scores.append(score(model, [without_picture(sample) for sample in asked]))
    assert losses[-1] < 0.5 * losses[0], losses
    assert scores[0] < 10 and scores[1] > 60 and scores[2] < 40, scores


def test_lookups_ask_for_a_letter_without_a_picture(tiny: ModuleType) -> None:
    letters = set()
    for seed in range(20):
        told = tiny._letters("lookup", random.Random(seed))
        assert len(told.turns) == tiny.MAX_TURNS and not told.shared
        for turn in told.turns:
            (question,) = turn.content
            text = question.removeprefix("Question: which letter is ").partition("?\n")[0]
            letter = turn.answer.removeprefix(f"{text} (").removesuffix(")")
            assert f"\n{letter}. {text}\n" in question
            letters.add(letter)
    assert letters >= set("ABCD")


def test_a_choice_is_named_before_its_letter(tiny: ModuleType) -> None:
    """Such an answer gets the official verdict that its letter would."""
    for name in tiny.WITH_OPTIONS:
        task = find(name)
        for number in range(30):
            (sample, *_) = samples(name, "train", number)
            if not tiny._is_text(sample.options):
                continue
            exercise, rng = (sample, ""), random.Random(number)
            (turn,) = tiny.conversation([exercise], task.form, name, rng).turns
            right = prompts.gold(sample, task.form)
            assert turn.answer == f"{sample.options[right]} ({right})"
            for letter, text in sample.options.items():
                prediction = Prediction(id=sample.id, response=f"{text} ({letter})")
                verdict = task.score(sample, prediction, "official")
                assert verdict.value == (letter == right)


def test_a_working_stands_before_the_answer(tiny: ModuleType) -> None:
    answers = {}
    for name in ("mmmu", "mathvista"):
        form = find(name).form
        for number in range(60):
            asked = exercises(name, "train", number)
            told = tiny.conversation(asked, form, name, random.Random(number), tiny.Asking())
            for (sample, working), turn in zip(asked, told.turns, strict=True):
                if working:
                    final = turn.answer.removeprefix(f"{working} ")
                    gold = prompts.gold(sample, form)
                    answers[final] = gold
                    text = sample.options.get(gold, "")
                    named = f"{text} ({gold})" if tiny._is_text(sample.options) else f"({gold})"
                    assert final == (named if sample.options else gold)
    assert len(answers) > 20


def test_large_exercises_need_no_splitting(tiny: ModuleType) -> None:
    asking = tiny.Asking(split_small=0.0, is_exercise=True, is_large=True)
    for name in ("textvqa", "docvqa"):
        turns = []
        for seed in range(30):
            told = tiny._scene(name, random.Random(seed), asking)
            (image,) = told.shared
            assert max(image.size) <= tiny.LONGEST and not told.split
            turns.append(len(told.turns))
        assert max(turns) <= tiny.MAX_EXERCISES and sum(turns) > 30 * 3


def test_conclusions_have_all_they_follow_from(tiny: ModuleType) -> None:
    for seed in range(30):
        told = tiny._conclude(random.Random(seed))
        assert len(told.turns) == tiny.MAX_TURNS and not told.shared
        for turn in told.turns:
            (question,) = turn.content
            working = next(
                turn.answer[:end]
                for end in range(len(turn.answer), 0, -1)
                if question.startswith(f"Question: {turn.answer[:end]} ")
            )
            final = turn.answer.removeprefix(working).strip()
            assert final and "<image" not in question
            if "Choices:" in question:
                text, _, letter = final.removesuffix(")").rpartition(" (")
                assert f"\n{letter}. {text}\n" in question
