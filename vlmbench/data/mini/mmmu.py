"""MMMU's stand-in: questions of five made subjects over one to seven pictures in the text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from PIL import Image

from vlmbench.data.mini import objects
from vlmbench.data.mini.drawing import Canvas, text_width
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.objects import Kind, Object
from vlmbench.data.mini.scenes import Exercise, Part
from vlmbench.data.mini.words import words

T = TypeVar("T")

MAX_IMAGES = 7
SIZE = 64
"""The side of most pictures, in pixels: several stand in one question."""

NUM_CORNERS = {"triangle": 3, "square": 4, "diamond": 4, "star": 10, "cross": 12}
CORNERS = ("top left", "top right", "bottom left", "bottom right")
COMPASS = {"north": (0, -1), "south": (0, 1), "east": (1, 0), "west": (-1, 0)}
MAX_DOTS = 6


class Problem(NamedTuple):
    subfield: str
    question: str
    images: Sequence[Image.Image]
    answer: str
    options: Sequence[str] = ()
    """Options in the order shown, the answer among them; empty: an open question."""

    is_hard: bool = False
    rationale: str = ""
    """Reasoning before the answer; see `Exercise`."""


def draw(rng: random.Random, part: Part, index: int) -> list[dict[str, Any]]:
    return [exercise.row for exercise in exercises(rng, part, index)]


def exercises(rng: random.Random, part: Part, index: int) -> list[Exercise]:
    """The task's own questions, with rationales."""
    subject = sorted(_SUBJECTS)[index % len(_SUBJECTS)]
    problem = rng.choice(_SUBJECTS[subject])(rng, part)
    pictures: dict[str, Image.Image | None] = dict.fromkeys(map(_column, range(MAX_IMAGES)))
    pictures |= {_column(i): image for i, image in enumerate(problem.images)}
    answer = problem.answer
    if problem.options:
        answer = "ABCDEFG"[list(problem.options).index(answer)]
    row = {
        "id": f"mini_{subject}_{index}",
        "question": problem.question,
        "options": repr(list(problem.options)),
        "explanation": "",
        **pictures,
        "img_type": "['Diagrams']",
        "answer": answer,
        "topic_difficulty": "Hard" if problem.is_hard else "Easy",
        "question_type": "multiple-choice" if problem.options else "open",
        "subfield": problem.subfield,
    }
    return [Exercise(row, problem.rationale)]


def _column(i: int) -> str:
    return f"image_{i + 1}"


def _named(number: int) -> str:
    return f"<image {number}>"


def _corners(rng: random.Random, part: Part) -> Problem:
    kind = _cornered(rng, part)
    question = "<image 1> how many corners does the shape have?"
    number = str(NUM_CORNERS[kind.shape])
    return Problem("Corners", question, [_one(rng, kind)], number, rationale=f"{kind.shape} =")


def _corners_of_two(rng: random.Random, part: Part) -> Problem:
    a, b = _cornered(rng, part), _cornered(rng, part)
    total = NUM_CORNERS[a.shape] + NUM_CORNERS[b.shape]
    sums = {x + y for x in NUM_CORNERS.values() for y in NUM_CORNERS.values()} - {total}
    options = _shuffled(rng, [str(total), *map(str, rng.sample(sorted(sums), 3))])
    question = "how many corners do the shapes in <image 1> and <image 2> have together?"
    rationale = f"{a.shape} {NUM_CORNERS[a.shape]} + {b.shape} {NUM_CORNERS[b.shape]} ="
    images = [_one(rng, a), _one(rng, b)]
    return Problem("Corners", question, images, str(total), options, True, rationale)


def _cornered(rng: random.Random, part: Part) -> Kind:
    """A kind whose number of corners is as likely as any other number."""
    number = rng.choice(sorted(set(NUM_CORNERS.values())))
    return rng.choice([k for k in objects.kinds(part) if NUM_CORNERS.get(k.shape) == number])


def _larger(rng: random.Random, part: Part) -> Problem:
    """The larger or smaller of two shapes of one kind, each in a picture of its own."""
    kind = rng.choice(objects.kinds(part))
    word = rng.choice(("larger", "smaller"))
    small = rng.randint(8, 15)
    radii = _shuffled(rng, [small, rng.randint(small + 8, 30)])
    wanted = max(radii) if word == "larger" else min(radii)
    images = [_one(rng, kind, radius) for radius in radii]
    question = f"in which picture is the {kind.shape} {word}?"
    options = [_named(1), _named(2)]
    return Problem("Size", question, images, options[radii.index(wanted)], options)


def _read(rng: random.Random, part: Part) -> Problem:
    chosen = rng.sample(_short_words(part), 4)
    question = "<image 1> what is the word in the picture?"
    images = [_word(rng, part, chosen[0])]
    return Problem("Words", question, images, chosen[0], _shuffled(rng, chosen))


def _read_open(rng: random.Random, part: Part) -> Problem:
    """Two pictures, of which one is asked for."""
    chosen = rng.sample(_short_words(part), 2)
    asked = rng.randint(1, 2)
    question = f"<image 1> <image 2> what is the word in picture {asked}?"
    images = [_word(rng, part, word) for word in chosen]
    return Problem("Words", question, images, chosen[asked - 1], is_hard=True)


def _find_word(rng: random.Random, part: Part) -> Problem:
    chosen = rng.sample(_short_words(part), rng.randint(2, 4))
    wanted = rng.randrange(len(chosen))
    options = [_named(i + 1) for i in range(len(chosen))]
    images = [_word(rng, part, word) for word in chosen]
    question = f"in which picture is the word {chosen[wanted]}?"
    rationale = _lettered(chosen)
    return Problem("Search", question, images, options[wanted], options, len(chosen) > 2, rationale)


def _short_words(part: Part) -> list[str]:
    return [word for word in words(part) if len(word) <= 5]


def _dots(rng: random.Random, part: Part) -> Problem:
    """One picture's shapes counted."""
    kind, count = rng.choice(objects.kinds(part)), rng.randint(1, MAX_DOTS)
    question = "<image 1> how many shapes are there?"
    return Problem("Counts", question, [_several(rng, kind, count)], str(count))


def _dots_of_two(rng: random.Random, part: Part) -> Problem:
    kinds = [rng.choice(objects.kinds(part)) for _ in range(2)]
    total = rng.randint(2, 2 * MAX_DOTS - 2)
    first = rng.randint(max(1, total - MAX_DOTS), min(MAX_DOTS, total - 1))
    images = [_several(rng, *pair) for pair in zip(kinds, (first, total - first), strict=True)]
    question = "how many shapes are there in <image 1> and <image 2> together?"
    rationale = f"{first} + {total - first} ="
    return Problem("Counts", question, images, str(total), is_hard=True, rationale=rationale)


def _most(rng: random.Random, part: Part) -> Problem:
    word, find = rng.choice((("most", max), ("fewest", min)))
    counts = rng.sample(range(1, MAX_DOTS + 1), rng.randint(2, 4))
    images = [_several(rng, rng.choice(objects.kinds(part)), count) for count in counts]
    options = [_named(i + 1) for i in range(len(counts))]
    question = f"which picture has the {word} shapes?"
    answer = options[counts.index(find(counts))]
    rationale = _lettered(counts)
    return Problem("Comparison", question, images, answer, options, len(counts) > 2, rationale)


def _odd_one_out(rng: random.Random, part: Part) -> Problem:
    """One shape unlike the others, which share colour and form, or, if hard, the form alone."""
    is_hard = rng.random() < 0.5
    num_shown = rng.randint(3, 4)
    odd, common = objects.distinct(rng, part, 2)
    alike = [kind for kind in objects.kinds(part) if kind.shape == common.shape]
    shown = [rng.choice(alike) if is_hard else common for _ in range(num_shown - 1)]
    place = rng.randrange(num_shown)
    shown.insert(place, odd)
    options = [_named(i + 1) for i in range(num_shown)]
    what = "shape" if is_hard else "picture"
    question = f"which {what} is different?"
    images = [_one(rng, kind) for kind in shown]
    rationale = _lettered([kind.shape for kind in shown])
    return Problem("Odd one out", question, images, options[place], options, is_hard, rationale)


def _next(rng: random.Random, part: Part) -> Problem:
    """Two kinds in turn, or one more shape each time; options are pictures too."""
    a, b, other = objects.distinct(rng, part, 3)
    is_hard = rng.random() < 0.5
    if is_hard:
        step, first = rng.choice(((1, 1), (1, 2), (-1, 6), (-1, 5)))
        shown = [_several(rng, a, first + step * i) for i in range(3)]
        right = first + 3 * step
        wrong = rng.choice([n for n in range(1, MAX_DOTS + 1) if n != right])
        candidates = [_several(rng, a, right), _several(rng, a, wrong)]
        names = [*(str(first + step * i) for i in range(3)), str(right), str(wrong)]
    else:
        shown = [_one(rng, kind) for kind in (a, b, a)]
        candidates = [_one(rng, b)]
        false = rng.choice((a, other))
        candidates.append(_one(rng, false))
        names = [kind.shape for kind in (a, b, a, b, false)]
    order = _shuffled(rng, [0, 1])
    options = [_named(4), _named(5)]
    question = "<image 1> <image 2> <image 3> which picture is next?"
    images = [*shown, *(candidates[i] for i in order)]
    answer = options[order.index(0)]
    rationale = f"{', '.join(names[:3])}, {_lettered([names[3 + i] for i in order])}"
    return Problem("Sequences", question, images, answer, options, is_hard, rationale)


def _same(rng: random.Random, part: Part) -> Problem:
    """Asks if the shapes of two pictures have the same colour, or form."""
    field = rng.randrange(2)
    a, b = objects.distinct(rng, part, 2)
    is_same = rng.random() < 0.5
    if is_same:
        b = rng.choice([k for k in objects.kinds(part) if k[field] == a[field] and k != a])
    question = f"do <image 1> and <image 2> show the same {('color', 'shape')[field]}?"
    images = [_one(rng, a), _one(rng, b)]
    answer, options = "yes" if is_same else "no", ["yes", "no"]
    rationale = f"{a[field]}, {b[field]}:"
    return Problem("Comparison", question, images, answer, options, rationale=rationale)


def _find_place(rng: random.Random, part: Part) -> Problem:
    """The first picture shows what to look for in the second."""
    shown = objects.distinct(rng, part, rng.randint(2, 4))
    places = rng.sample(range(4), len(shown))
    size = rng.choice((SIZE, 96))
    placed = []
    for kind, place in zip(shown, places, strict=True):
        row, column = divmod(place, 2)
        x, y = (round((i + 0.5) * size / 2) + rng.randint(-2, 2) for i in (column, row))
        placed.append(Object(kind, x, y, size // rng.randint(6, 7)))
    images = [_one(rng, shown[0]), objects.draw(rng, size, placed).image]
    question = "where in <image 2> is the shape of <image 1>?"
    answer, is_hard = CORNERS[places[0]], len(shown) > 2
    return Problem("Maps", question, images, answer, CORNERS, is_hard, f"{shown[0]}:")


def _direction(rng: random.Random, part: Part) -> Problem:
    a, b = objects.distinct(rng, part, 2)
    answer = rng.choice(sorted(COMPASS))
    across, down = COMPASS[answer]
    radius, distance = rng.randint(9, 11), rng.randint(26, 36)
    slant = rng.randint(-8, 8)
    middle = SIZE // 2
    x = (across * distance + abs(down) * slant) // 2
    y = (down * distance + abs(across) * slant) // 2
    placed = [Object(a, middle + x, middle + y, radius), Object(b, middle - x, middle - y, radius)]
    image = objects.draw(rng, SIZE, placed).image
    question = f"<image 1> on which side of the {b} is the {a}?"
    return Problem("Directions", question, [image], answer, _shuffled(rng, sorted(COMPASS)))


def _lettered(names: Sequence[object]) -> str:
    """Contents of the options' pictures, as in "a 3 b 5:"."""
    return " ".join(f"{letter} {name}" for letter, name in zip("abcd", names, strict=False)) + ":"


def _shuffled(rng: random.Random, items: Sequence[T]) -> list[T]:
    return rng.sample(items, len(items))


def _one(rng: random.Random, kind: Kind, radius: int | None = None) -> Image.Image:
    radius = radius or rng.randint(14, 26)
    x, y = (rng.randint(radius + 1, SIZE - radius - 2) for _ in range(2))
    return objects.draw(rng, SIZE, [Object(kind, x, y, radius)]).image


def _several(rng: random.Random, kind: Kind, count: int) -> Image.Image:
    places = objects.cells(rng, SIZE, 3, count, fill=(0.6, 0.85))
    return objects.draw(rng, SIZE, [Object(kind, *place) for place in places]).image


def _word(rng: random.Random, part: Part, word: str) -> Image.Image:
    face, size = rng.choice(FACES[part]), rng.randint(14, 18)
    while text_width(word, face, size) > 76:
        size -= 1
    width, height = 80, 32
    canvas = Canvas(width, height, objects.paper(rng))
    x = rng.randint(2, width - 2 - text_width(word, face, size))
    y = rng.randint(1, height - round(1.4 * size))
    canvas.write(x, y, word, face, size, rng.choice(("black", "blue", "red", "purple")))
    return canvas.image


_SUBJECTS = {
    "Cartography": (_find_place, _direction),
    "Geometry": (_corners, _corners_of_two, _larger),
    "Logic": (_odd_one_out, _next, _same),
    "Reading": (_read, _read_open, _find_word),
    "Statistics": (_dots, _dots_of_two, _most),
}
