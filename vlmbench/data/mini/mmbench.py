"""MMBench's stand-in: a choice about a small picture, asked in every rotation of its options."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from PIL import Image

from vlmbench.data.mini import objects
from vlmbench.data.mini.drawing import Canvas, text_width
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.objects import COLORS, SHAPES, Kind, Object, kinds
from vlmbench.data.mini.scenes import Part
from vlmbench.data.mini.words import words

ROTATION = 1_000_000
LETTERS = "ABCD"
MISSING = "nan"
"""An empty cell in the hub's copies."""

POSITIONS = ("top left", "top right", "bottom left", "bottom right")
DIRECTIONS = {"above": (0, -1), "below": (0, 1), "left": (-1, 0), "right": (1, 0)}
OPPOSITES = {"above": "below", "below": "above", "left": "right", "right": "left"}
MAX_COUNT = 6


class Problem(NamedTuple):
    image: Image.Image
    question: str
    answer: str
    others: tuple[str, ...]
    """The wrong options."""

    hint: str = MISSING


def draw(rng: random.Random, part: Part, index: int) -> list[dict[str, Any]]:
    category = rng.choice(sorted(_CATEGORIES))
    level = "hard" if rng.random() < 0.3 else "easy"
    problem = _CATEGORIES[category](rng, part, level)
    options = [problem.answer, *problem.others]
    rng.shuffle(options)
    rows = []
    for rotation in range(len(options)):
        turned = options[rotation:] + options[:rotation]
        cells = dict.fromkeys(LETTERS, MISSING) | dict(zip(LETTERS, turned, strict=False))
        rows.append(
            {
                "index": rotation * ROTATION + index,
                "question": problem.question,
                "hint": problem.hint,
                **cells,
                "answer": LETTERS[turned.index(problem.answer)],
                "category": category,
                "image": problem.image,
                "source": "vlmbench mini",
                "L2-category": level,
                "comment": MISSING,
                "split": "dev" if part == "test" else "train",
            }
        )
    return rows


def _color(rng: random.Random, part: Part, level: str) -> Problem:
    shown = objects.distinct(rng, part, rng.randint(1, 3))
    question = f"what color is the {shown[0].shape}?"
    others = _others(rng, [kind.color for kind in shown], COLORS)
    return Problem(_picture(rng, shown, level), question, shown[0].color, others, _hint(rng, shown))


def _shape(rng: random.Random, part: Part, level: str) -> Problem:
    shown = objects.distinct(rng, part, rng.randint(1, 3))
    question = f"what is the {shown[0].color} shape?"
    others = _others(rng, [kind.shape for kind in shown], SHAPES)
    return Problem(_picture(rng, shown, level), question, shown[0].shape, others, _hint(rng, shown))


def _others(rng: random.Random, shown: list[str], every: tuple[str, ...]) -> tuple[str, ...]:
    """One to three wrong options: the other shapes' first, then what is not in the picture."""
    absent = rng.sample([name for name in every if name not in shown], 3)
    return tuple([*shown[1:], *absent][: rng.randint(max(1, len(shown) - 1), 3)])


def _relation(rng: random.Random, part: Part, level: str) -> Problem:
    a, b = objects.distinct(rng, part, 2)
    answer = rng.choice(sorted(DIRECTIONS))
    others = [name for name in DIRECTIONS if name != answer]
    if rng.random() < 0.5:  # the opposite alone
        others = [OPPOSITES[answer]]
    size = 192 if level == "hard" else rng.choice((64, 72, 80, 96))
    radius = rng.randint(9, 11) if level == "hard" else round(size * rng.uniform(0.12, 0.17))
    across, down = DIRECTIONS[answer]
    distance = rng.randint(2 * radius + 2, size - 2 * radius - 4)
    slant = rng.randint(-radius // 2, radius // 2)
    step = (across * distance + slant * abs(down), down * distance + slant * abs(across))
    x, y = (_start(rng, size, radius, move) for move in step)
    placed = [Object(b, x, y, radius), Object(a, x + step[0], y + step[1], radius)]
    image = objects.draw(rng, size, placed).image
    return Problem(image, f"where is the {a} relative to the {b}?", answer, tuple(others))


def _start(rng: random.Random, size: int, radius: int, move: int) -> int:
    """A coordinate from which a shape and one that is `move` further are in the picture."""
    return rng.randint(radius + 1 + max(0, -move), size - radius - 2 - max(0, move))


def _position(rng: random.Random, part: Part, level: str) -> Problem:
    shown = objects.distinct(rng, part, rng.randint(1, 4))
    size = 192 if level == "hard" else rng.choice((64, 72, 80, 96))
    fill = (0.2, 0.26) if level == "hard" else (0.6, 0.85)
    half = size / 2
    corners = rng.sample(range(4), len(shown))
    placed = []
    for kind, corner in zip(shown, corners, strict=True):
        radius = int(half * rng.uniform(*fill) / 2)
        room = (half / 2 - radius - 1) * 0.7
        row, column = divmod(corner, 2)
        x, y = (round((i + 0.5) * half + rng.uniform(-room, room)) for i in (column, row))
        placed.append(Object(kind, x, y, radius))
    answer = POSITIONS[corners[0]]
    others = tuple(name for name in POSITIONS if name != answer)
    image = objects.draw(rng, size, placed).image
    return Problem(image, f"where in the picture is the {shown[0]}?", answer, others)


def _count(rng: random.Random, part: Part, level: str) -> Problem:
    """Shapes of one form to count, among up to two of another."""
    answer = rng.randint(1, MAX_COUNT)
    kind = rng.choice(kinds(part))
    different = [other for other in kinds(part) if other.shape != kind.shape]
    alike = [other for other in kinds(part) if other.shape == kind.shape]
    shown = [rng.choice(alike) for _ in range(answer)]
    shown += [rng.choice(different) for _ in range(rng.randint(0, 2))]
    numbers = [n for n in range(1, MAX_COUNT + 1) if n != answer]
    others = tuple(str(n) for n in rng.sample(numbers, rng.randint(2, 3)))
    question = f"how many {objects.plural(kind.shape)} are there?"
    return Problem(_picture(rng, shown, level), question, str(answer), others)


def _word(rng: random.Random, part: Part, level: str) -> Problem:
    """The wrong words of the harder level start with the same letter."""
    longest = 6 if level == "easy" else 8
    usable = [word for word in words(part) if len(word) <= longest]
    answer = rng.choice(usable)
    if level == "hard":
        usable = [word for word in usable if word[0] == answer[0]]
    others = rng.sample([word for word in usable if word != answer], min(3, len(usable) - 1))
    if not others:
        return _word(rng, part, level)
    face = rng.choice(FACES[part])
    size = rng.randint(14, 20)
    while text_width(answer, face, size) > 90:
        size -= 1
    width, height = 96, rng.choice((32, 48, 64, 96))
    canvas = Canvas(width, height, objects.paper(rng))
    x = rng.randint(2, width - 3 - text_width(answer, face, size))
    y = rng.randint(1, max(1, height - round(1.5 * size)))
    canvas.write(x, y, answer, face, size, rng.choice(("black", "blue", "red", "purple")))
    return Problem(canvas.image, "what is the word?", answer, tuple(others))


def _picture(rng: random.Random, shown: list[Kind], level: str) -> Image.Image:
    if level == "hard":
        size, places = 192, objects.cells(rng, 192, 4, len(shown), fill=(0.4, 0.55))
    else:
        size = rng.choice((64, 72, 80, 96))
        per_side = 2 if len(shown) <= 4 and rng.random() < 0.5 else 3
        places = objects.cells(rng, size, per_side, len(shown))
    placed = [Object(kind, *place) for kind, place in zip(shown, places, strict=True)]
    return objects.draw(rng, size, placed).image


def _hint(rng: random.Random, shown: list[Kind]) -> str:
    """True, and no help: three questions in ten have one."""
    if rng.random() < 0.7:
        return MISSING
    return "there is 1 shape." if len(shown) == 1 else f"there are {len(shown)} shapes."


_CATEGORIES = {
    "color": _color,
    "shape": _shape,
    "relation": _relation,
    "position": _position,
    "count": _count,
    "word": _word,
}
