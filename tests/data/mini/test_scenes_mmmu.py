"""Questions with pictures in the text."""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import Any

import pytest

from vlmbench.data.mini import scene
from vlmbench.data.mini.mmmu import COMPASS, NUM_CORNERS

NUM_SCENES = 400


def pictures(row: dict[str, Any]) -> dict[int, Any]:
    columns = {number: row[f"image_{number}"] for number in range(1, 8)}
    return {number: image for number, image in columns.items() if image is not None}


def named(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"<image (\d)>", text)}


def gold(row: dict[str, Any]) -> str:
    options = ast.literal_eval(row["options"])
    return str(options["ABCDEFG".index(row["answer"])] if options else row["answer"])


def test_every_picture_is_named_and_every_name_has_its_picture() -> None:
    for number in range(NUM_SCENES):
        (row,) = scene("mmmu", "test", number)
        shown = pictures(row)
        assert set(shown) == set(range(1, len(shown) + 1))
        assert named(row["question"] + row["options"]) == set(shown)


def test_options_differ_and_open_questions_have_none() -> None:
    for number in range(NUM_SCENES):
        (row,) = scene("mmmu", "test", number)
        options = ast.literal_eval(row["options"])
        assert len(set(options)) == len(options)
        assert (row["question_type"] == "multiple-choice") == (len(options) >= 2)
        assert (row["question_type"] == "open") == (not options)


def expected(row: dict[str, Any], record: Any) -> str | None:
    """The answer by what was drawn; None: the question is not one of a shape's looks."""
    question, images = row["question"], pictures(row)
    shapes = {number: record.shapes_of(image) for number, image in images.items()}
    if "corners" in question:
        return str(sum(NUM_CORNERS[s.shape] for drawn in shapes.values() for s in drawn))
    if "how many shapes" in question:
        return str(sum(map(len, shapes.values())))
    if found := re.search(r"larger|smaller|most|fewest", question):
        by_number = {n: drawn[0].radius for n, drawn in shapes.items()}
        if found[0] in ("most", "fewest"):
            by_number = {n: len(drawn) for n, drawn in shapes.items()}
            assert len(set(by_number.values())) == len(by_number)
        pick = max if found[0] in ("larger", "most") else min
        return f"<image {pick(by_number, key=by_number.__getitem__)}>"
    if found := re.search(r"the same (color|shape)", question):
        return "yes" if len({getattr(d[0], found[1]) for d in shapes.values()}) == 1 else "no"
    if "different" in question:
        counted = Counter(drawn[0].shape for drawn in shapes.values())
        (odd,) = [n for n, drawn in shapes.items() if counted[drawn[0].shape] == 1]
        return f"<image {odd}>"
    if "where in" in question:
        (target,) = [s for s in shapes[2] if s[:2] == shapes[1][0][:2]]
        half = images[2].width / 2
        rows = "top" if target.y < half else "bottom"
        return f"{rows} {'left' if target.x < half else 'right'}"
    if found := re.search(r"side of the (\w+) (\w+) is the (\w+) (\w+)", question):
        b, a = ([s for s in shapes[1] if s[:2] == found.group(*pair)] for pair in ((1, 2), (3, 4)))
        across, down = a[0].x - b[0].x, a[0].y - b[0].y
        return max(COMPASS, key=lambda name: COMPASS[name][0] * across + COMPASS[name][1] * down)
    return None


def test_answers_follow_from_the_shapes_that_were_drawn(record: Any) -> None:
    checked = 0
    for number in range(NUM_SCENES):
        (row,) = scene("mmmu", "test", number)
        right = expected(row, record)
        if right is not None:
            checked += 1
            assert gold(row) == right, row["question"]
    assert checked > NUM_SCENES / 2


def test_words_are_those_that_were_written(record: Any) -> None:
    for number in range(3, NUM_SCENES, 5):
        (row,) = scene("mmmu", "test", number)
        assert row["id"] == f"mini_Reading_{number}"
        texts = {n: record.texts_of(image)[0] for n, image in pictures(row).items()}
        if found := re.search(r"is the word (\w+)\?", row["question"]):
            assert gold(row) in [f"<image {n}>" for n, text in texts.items() if text == found[1]]
        else:
            asked = re.search(r"in picture (\d)", row["question"])
            assert gold(row) == texts[int(asked[1]) if asked else 1]


def test_a_sequence_goes_on_in_the_picture_that_is_right_and_not_in_the_other(record: Any) -> None:
    for number in range(2, NUM_SCENES, 5):
        (row,) = scene("mmmu", "test", number)
        if "next" not in row["question"]:
            continue
        drawn = {n: record.shapes_of(image) for n, image in pictures(row).items()}
        alternates = len({d[0][:2] for n, d in drawn.items() if n <= 3}) == 2

        def continues(n: int, drawn: Any = drawn, alternates: bool = alternates) -> bool:
            if alternates:
                return bool(drawn[n][0][:2] == drawn[2][0][:2])
            return bool(len(drawn[n]) == 2 * len(drawn[3]) - len(drawn[2]))

        assert [f"<image {n}>" for n in (4, 5) if continues(n)] == [gold(row)]


@pytest.mark.parametrize("part", ["train", "test"])
def test_letters_are_even_among_questions_of_equal_options(part: Any) -> None:
    letters: dict[int, Counter[str]] = {}
    for number in range(1000):
        (row,) = scene("mmmu", part, number)
        if options := ast.literal_eval(row["options"]):
            letters.setdefault(len(options), Counter())[row["answer"]] += 1
    for count, counted in letters.items():
        assert max(counted.values()) / counted.total() < 1 / count + 0.12
