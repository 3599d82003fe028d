"""Answers about easy-VQA's pictures and about drawn ones."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.data.mini import easy_vqa, scene
from vlmbench.errors import VlmbenchError

AXES = {"above": ("y", 1), "below": ("y", -1), "left of": ("x", 1), "right of": ("x", -1)}


def expected(question: str, shapes: list[Any]) -> str:
    """The answer by what was drawn, from the question's words alone."""
    if found := re.fullmatch(r"how many (?:(\w+) )?shapes are there\?", question):
        return str(sum(found[1] in (None, s.color) for s in shapes))
    if found := re.fullmatch(r"how many (\w+?)(?:es|s)? are there\?", question):
        return str(sum(s.shape in (found[1], f"{found[1]}e") for s in shapes))
    if found := re.fullmatch(r"what color is the (\w+)\?", question):
        (only,) = {s.color for s in shapes if s.shape == found[1]}
        return str(only)
    if found := re.fullmatch(r"what is the (\w+) shape\?", question):
        (only,) = {s.shape for s in shapes if s.color == found[1]}
        return str(only)
    if found := re.fullmatch(r"is there a (\w+) (\w+)\?", question):
        return "yes" if (found[1], found[2]) in {s[:2] for s in shapes} else "no"
    if found := re.fullmatch(r"is the (\w+) (\w+) (.+) the (\w+) (\w+)\?", question):
        (a,) = [s for s in shapes if s[:2] == (found[1], found[2])]
        (b,) = [s for s in shapes if s[:2] == (found[4], found[5])]
        axis, sign = AXES[found[3]]
        return "yes" if sign * (getattr(b, axis) - getattr(a, axis)) > 0 else "no"
    found = re.fullmatch(r"what shape is (.+) the (\w+) (\w+)\?", question)
    assert found, question
    (b,) = [s for s in shapes if s[:2] == (found[2], found[3])]
    axis, sign = AXES[found[1]]
    (only_one,) = [s for s in shapes if sign * (getattr(b, axis) - getattr(s, axis)) > 0]
    return str(only_one.shape)


@pytest.mark.parametrize("part", ["train", "test"])
def test_every_answer_follows_from_the_shapes_that_were_drawn(record: Any, part: Any) -> None:
    kinds = set()
    for number in range(1, 301, 2):
        for row in scene("vqav2", part, number):
            shapes = record.shapes_of(row["image"])
            assert row["multiple_choice_answer"] == expected(row["question"], shapes)
            kinds.add(row["question_type"])
    asked = {"count", "color", "shape", "beside", "relation", "exists"}
    assert kinds == {f"{level} {kind}" for level in ("easy", "hard") for kind in asked}


def test_shapes_do_not_touch_each_other_or_the_border(record: Any) -> None:
    for number in range(1, 201, 2):
        image = scene("vqav2", "train", number)[0]["image"]
        shapes = record.shapes_of(image)
        for i, a in enumerate(shapes):
            for other in (a.x, a.y):
                assert a.radius <= other <= image.width - a.radius
            for b in shapes[:i]:
                assert max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius + b.radius


def test_questions_with_a_yes_and_a_no_are_even(rows: Callable[..., list[dict[str, Any]]]) -> None:
    drawn = Counter(
        (row["question_type"].split()[-1], row["multiple_choice_answer"])
        for row in rows("vqav2", "test", 800)
        if row["answer_type"] == "yes/no"
    )
    for kind in ("there", "not", "exists", "relation"):
        yes, no = drawn[kind, "yes"], drawn[kind, "no"]
        assert yes + no > 80
        assert 0.4 < yes / (yes + no) < 0.6, kind


def test_easy_vqa_is_the_packages_test_part_whole(
    rows: Callable[..., list[dict[str, Any]]],
) -> None:
    spec = importlib.util.find_spec("easy_vqa")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "data" / "test"
    official = [tuple(entry) for entry in json.loads((folder / "questions.json").read_text())]
    drawn = rows("easy_vqa", "test", 1000)
    found = [(r["question"], r["multiple_choice_answer"], r["image_id"]) for r in drawn]
    assert len(found) == 9_673
    assert Counter(found) == Counter(official)
    assert len({row["question_id"] for row in drawn}) == len(drawn)
    assert {row["answer_type"] for row in drawn} == {"yes/no", "other"}


def test_the_train_part_starts_again_after_4000_pictures() -> None:
    first, again = scene("easy_vqa", "train", 7), scene("easy_vqa", "train", 4_007)
    assert [row["question"] for row in first] == [row["question"] for row in again]
    assert first[0]["image"].tobytes() == again[0]["image"].tobytes()
    assert {row["question_id"] for row in first}.isdisjoint(row["question_id"] for row in again)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    easy_vqa._folder.cache_clear()
    easy_vqa._questions.cache_clear()
    with pytest.raises(VlmbenchError, match=r"pip install easy-vqa==1\.0"):
        scene("vqav2", "test", 0)
