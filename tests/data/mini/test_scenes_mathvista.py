"""Charts, measures and counts, checked against pixels and labels."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlmbench.data.mini import scene
from vlmbench.data.mini.bars import COLORS_OF_BARS, SCALE
from vlmbench.data.mini.drawing import COLORS
from vlmbench.metrics.mathvista import Problem, verdict

NUM_SCENES = 250

Rows = Callable[..., list[dict[str, Any]]]


def boxes(image: Image.Image) -> dict[str, tuple[int, int, int, int]]:
    """Of every bar's colour the pixels that it covers."""
    pixels = np.asarray(image)
    found = {}
    for name in COLORS_OF_BARS:
        rows, columns = np.nonzero((pixels == COLORS[name]).all(axis=2))
        if len(rows) > 30:  # not the type's
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            found[name] = (int(edges[0]), int(edges[1]), int(edges[2]), int(edges[3]))
    return found


def values(image: Image.Image, texts: list[str], is_labelled: bool) -> dict[str, float]:
    """A chart's values from left to right: as written above the bars, or by their heights."""
    bars = sorted(boxes(image).items(), key=lambda item: item[1])
    if is_labelled:
        return {name: int(text) for (name, _), text in zip(bars, texts, strict=True)}
    pixels_per_unit = (image.height - 18) / SCALE  # the frame's margins are 10 and 8
    return {name: round((box[3] - box[1]) / pixels_per_unit) for name, box in bars}


def expected(question: str, by_color: dict[str, float]) -> str:
    if "from left to right" in question:
        return str([int(value) for value in by_color.values()])
    if found := re.search(r"which bar is the (highest|lowest)", question):
        return (max if found[1] == "highest" else min)(by_color, key=by_color.__getitem__)
    if found := re.search(r"higher than (\d+)", question):
        return str(sum(value > int(found[1]) for value in by_color.values()))
    named = [int(by_color[name]) for name in re.findall(r"the (\w+) bar", question)]
    if "value" in question:
        return str(named[0])
    if "sum" in question:
        return str(sum(named))
    if "mean" in question:
        return f"{sum(named) / 2:.1f}"
    return str(abs(named[0] - named[1]))


def scenes(kind: str, part: Any = "test") -> list[list[dict[str, Any]]]:
    drawn = [scene("mathvista", part, number) for number in range(NUM_SCENES)]
    return [rows for rows in drawn if rows[0]["metadata"]["source"].split()[1] == f"{kind},"]


def test_charts_show_the_values_that_the_answers_use(record: Any) -> None:
    found = scenes("bars")
    for rows in found:
        image, is_easy = rows[0]["decoded_image"], rows[0]["metadata"]["source"].endswith("easy")
        shown = values(image, record.texts_of(image), is_easy)
        assert len(set(shown.values())) == len(shown)  # no ties
        for row in rows:
            assert row["answer"] == expected(row["question"], shown), row["question"]
    assert len(found) > 60


def test_the_bars_heights_agree_with_their_labels(record: Any) -> None:
    for rows in scenes("bars"):
        if rows[0]["metadata"]["source"].endswith("easy"):
            image = rows[0]["decoded_image"]
            written = values(image, record.texts_of(image), is_labelled=True)
            heights = {name: box[3] - box[1] for name, box in boxes(image).items()}
            scale = sum(heights.values()) / sum(written.values())
            assert all(abs(heights[n] - scale * written[n]) < 1.5 for n in written)


def test_rectangles_answers_follow_from_their_labels(record: Any) -> None:
    for rows in scenes("rectangle"):
        width, height = map(int, record.texts_of(rows[0]["decoded_image"]))
        right = {
            "width": width,
            "height": height,
            "perimeter": 2 * (width + height),
            "area": width * height,
        }
        for row in rows:
            (what,) = [name for name in right if name in row["question"]]
            assert row["answer"] == str(right[what])


def test_bars_on_rulers_are_as_long_as_the_ticks_say() -> None:
    for rows in scenes("ruler"):
        step = 9 if rows[0]["metadata"]["source"].endswith("easy") else 19
        (box,) = boxes(rows[0]["decoded_image"]).values()
        assert rows[0]["answer"] == str((box[2] - box[0] - 1) // step)
        assert (box[2] - box[0] - 1) % step == 0
        assert rows[0]["unit"] == "cm"


def test_hour_hands_point_where_the_answer_says() -> None:
    for rows in scenes("clock"):
        image, answer = rows[0]["decoded_image"], rows[0]["answer"]
        hour, _, minute = answer.partition(":")
        turn = (int(hour) + (minute == "30") / 2) / 12
        radius, centre = 0.5 * (image.width // 2 - 3), image.width // 2
        x = round(centre + 0.8 * radius * math.sin(2 * math.pi * turn))
        y = round(centre - 0.8 * radius * math.cos(2 * math.pi * turn))
        assert image.getpixel((x, y)) in [*COLORS.values()]


def test_counts_are_of_the_shapes_that_were_drawn(record: Any) -> None:
    for rows in scenes("count"):
        shapes = record.shapes_of(rows[0]["decoded_image"])
        found = re.fullmatch(r"how many (.+) are there\?", rows[0]["question"])
        assert found
        words = found[1].split()
        if words == ["shapes"]:
            right = len(shapes)
        elif len(words) == 2:
            right = sum(s.color == words[0] for s in shapes)
        else:
            right = sum(words[0] in (f"{s.shape}s", f"{s.shape}es") for s in shapes)
        assert rows[0]["answer"] == str(right)


@pytest.mark.parametrize("part", ["train", "test"])
def test_every_answer_is_right_by_the_tasks_own_scorer(part: Any, rows: Rows) -> None:
    kinds = set()
    for row in rows("mathvista", part, 500):
        choices = tuple(row["choices"] or ())
        assert len(set(choices)) == len(choices)
        assert not choices or row["answer"] in choices
        problem = Problem(
            question_type=row["question_type"],
            answer_type=row["answer_type"],
            precision=row["precision"],
            choices=choices,
            unit=row["unit"],
            question=row["question"],
            answer=row["answer"],
        )
        kinds.add((row["question_type"], row["answer_type"]))
        response = "ABCD"[choices.index(row["answer"])] if choices else row["answer"]
        assert verdict(response, problem, "official").value == 1, row["query"]
    free = {("free_form", kind) for kind in ("integer", "float", "list")}
    assert kinds == {("multi_choice", "text"), *free}


def test_the_query_is_the_benchmarks_own_prompt(rows: Rows) -> None:
    queries = {
        row["answer_type"]: row["query"]
        for row in rows("mathvista", "test", 500)
        if row["unit"] is None or row["answer_type"] == "integer"
    }
    lines = queries["text"].split("\n")
    assert lines[0] == (
        "Hint: Please answer the question and provide the correct option letter, e.g., "
        "A, B, C, D, at the end."
    )
    assert lines[1].startswith("Question: ") and lines[2] == "Choices:"
    assert [line[:4] for line in lines[3:5]] == ["(A) ", "(B) "]
    (ruler, *_) = scenes("ruler")
    assert ruler[0]["query"].endswith("bar? (Unit: cm)")
    assert "one decimal place" in queries["float"] and "Python list" in queries["list"]


def test_no_answer_is_common_within_a_kind_of_question(rows: Rows) -> None:
    counted: dict[str, Counter[str]] = {}
    for row in rows("mathvista", "test", 800):
        template = re.sub(r"\b(?:the|than|many) \w+", "_", row["question"])
        counted.setdefault(template, Counter())[row["answer"]] += 1
    for template, answers in counted.items():
        if answers.total() >= 40:
            assert max(answers.values()) / answers.total() < 0.4, template
