"""Circular groups of choices about small pictures."""

from __future__ import annotations

import re
from typing import Any

from vlmbench.data.mini import scene

MILLION = 1_000_000


def options(row: dict[str, Any]) -> list[str]:
    return [row[letter] for letter in "ABCD" if row[letter] != "nan"]


def gold(row: dict[str, Any]) -> str:
    return str(row[row["answer"]])


def test_rotations_turn_the_same_options_and_keep_the_answer() -> None:
    for number in range(200):
        group = scene("mmbench", "test", number)
        first = options(group[0])
        assert [row["index"] for row in group] == [r * MILLION + number for r in range(len(group))]
        assert 2 <= len(first) == len(set(first)) == len(group)
        for turn, row in enumerate(group):
            assert options(row) == first[turn:] + first[:turn]
            assert gold(row) == gold(group[0])
            assert row["image"] is group[0]["image"]
        assert {row["answer"] for row in group} == set("ABCD"[: len(group)])


def place(shape: Any, size: int) -> str:
    return (
        f"{'top' if shape.y < size / 2 else 'bottom'} {'left' if shape.x < size / 2 else 'right'}"
    )


def test_answers_follow_from_what_was_drawn(record: Any) -> None:
    seen = set()
    for number in range(400):
        row = scene("mmbench", "test", number)[0]
        image, question = row["image"], row["question"]
        shapes, words = record.shapes_of(image), question.rstrip("?").split()
        category = row["category"]
        if category == "color":
            right = [s.color for s in shapes if s.shape == words[-1]]
        elif category == "shape":
            right = [s.shape for s in shapes if s.color == words[-2]]
        elif category == "count":
            right = [str(sum(words[2] in (s.shape + "s", s.shape + "es") for s in shapes))]
        elif category == "position":
            right = [place(s, image.width) for s in shapes if s[:2] == tuple(words[-2:])]
        elif category == "word":
            right = record.texts_of(image)
        else:
            found = re.fullmatch(
                r"where is the (\w+) (\w+) relative to the (\w+) (\w+)\?", question
            )
            assert found
            (a,) = [s for s in shapes if s[:2] == found.groups()[:2]]
            (b,) = [s for s in shapes if s[:2] == found.groups()[2:]]
            across, down = a.x - b.x, a.y - b.y
            assert abs(abs(across) - abs(down)) > a.radius  # one direction is clear
            is_across = abs(across) > abs(down)
            names = ("left", "right") if is_across else ("above", "below")
            right = [names[(across if is_across else down) > 0]]
        assert right == [gold(row)], question
        if category in ("color", "shape"):
            assert row["hint"] in ("nan", "there is 1 shape.", f"there are {len(shapes)} shapes.")
        seen.add((category, row["L2-category"]))
    assert len(seen) == 12
