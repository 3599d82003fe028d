"""VQAv2's stand-in: pictures of easy-VQA in turn with drawn ones of two to five shapes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from vlmbench.data.mini import easy_vqa, objects
from vlmbench.data.mini.easy_vqa import Question
from vlmbench.data.mini.objects import COLORS, RELATIONS, SHAPES, Kind, Object, kinds, lies
from vlmbench.data.mini.scenes import Exercise, Part

EASY, HARD = "easy", "hard"
"""Two levels: shapes that fill a small picture, and small shapes in one of 192 x 192."""


def draw(rng: random.Random, part: Part, index: int) -> list[dict[str, Any]]:
    number, is_drawn = divmod(index, 2)
    if not is_drawn and part != "practice":
        asked = balanced(rng, easy_vqa.questions(part, number))
        return easy_vqa.rows(index, easy_vqa.picture(part, number), asked)
    return _drawn(rng, part, index, num_rounds=1)


def exercises(rng: random.Random, part: Part, index: int) -> list[Exercise]:
    """Several questions of each kind, for drawn pictures alone."""
    return [Exercise(row) for row in _drawn(rng, part, index, num_rounds=4)]


def _drawn(rng: random.Random, part: Part, index: int, num_rounds: int) -> list[dict[str, Any]]:
    level = HARD if rng.random() < 0.3 else EASY
    size, placed = _objects(rng, part, level)
    image = objects.draw(rng, size, placed).image
    asked = [
        (name, question)
        for _ in range(num_rounds)
        for name, ask in _TEMPLATES.items()
        if (question := ask(rng, part, placed))
    ]
    return [
        easy_vqa.row(index, i, image, question.text, question.answer, f"{level} {name}")
        for i, (name, question) in enumerate(dict.fromkeys(asked))
    ]


def balanced(rng: random.Random, questions: Sequence[Question]) -> list[Question]:
    """Balanced questions: at most one for shape, one for colour, and a "yes" and a "no".

    The last two differ in one word.

    Of the package's own questions three quarters are yes/no ones, and their wording gives four in
    five of these away.
    """
    groups: dict[tuple[str, ...], list[Question]] = {}
    for question in questions:
        is_open = question.kind in ("shape", "color")
        key = (question.kind,) if is_open else (question.kind, question.topic, question.answer)
        groups.setdefault(key, []).append(question)
    wanted: list[tuple[str, ...]] = [("shape",), ("color",)]
    answered_no = [key[:2] for key in groups if key[-1] == "no"]
    both = [key for key in answered_no if (*key, "yes") in groups]
    if both:
        kind = rng.choice(both)
        wanted += [(*kind, "yes"), (*kind, "no")]
    return [rng.choice(groups[key]) for key in wanted if key in groups] or [questions[0]]


def _objects(rng: random.Random, part: Part, level: str) -> tuple[int, list[Object]]:
    """Shapes of which a chosen number share a colour or a shape."""
    same = rng.randint(1, 4)
    count = max(2, same + rng.randint(0, 4 - same))
    first = rng.choice(kinds(part))
    field = rng.randrange(2)
    alike = [kind for kind in kinds(part) if kind[field] == first[field]]
    others = [kind for kind in kinds(part) if kind[field] != first[field]]
    chosen = [rng.choice(alike) for _ in range(same)]
    chosen += [rng.choice(others) for _ in range(count - same)]
    if level == HARD:
        size, places = 192, objects.cells(rng, 192, 4, count, fill=(0.4, 0.55))
    else:
        size = rng.choice((64, 72, 80, 88, 96))
        places = objects.cells(rng, size, 2 if rng.random() < 0.5 else 3, count)
    return size, [Object(kind, *place) for kind, place in zip(chosen, places, strict=True)]


def _count(rng: random.Random, part: Part, placed: Sequence[Object]) -> Question:
    counts = {"shapes": len(placed)}
    counts |= {f"{name} shapes": sum(o.kind.color == name for o in placed) for name in COLORS}
    counts |= {objects.plural(name): sum(o.kind.shape == name for o in placed) for name in SHAPES}
    found = sorted(set(counts.values()))
    answer = rng.choices(found, [1 + count for count in found])[0]  # small ones are found oftener
    what = rng.choice([what for what, count in counts.items() if count == answer])
    return Question(f"how many {what} are there?", str(answer))


def _color(rng: random.Random, part: Part, placed: Sequence[Object]) -> Question | None:
    kind = _only(rng, placed, 1)
    return Question(f"what color is the {kind.shape}?", kind.color) if kind else None


def _shape(rng: random.Random, part: Part, placed: Sequence[Object]) -> Question | None:
    kind = _only(rng, placed, 0)
    return Question(f"what is the {kind.color} shape?", kind.shape) if kind else None


def _beside(rng: random.Random, part: Part, placed: Sequence[Object]) -> Question | None:
    """A question for the only shape on one side of another."""
    found = []
    for b in _unique(placed):
        for relation in RELATIONS:
            sides = [(a, lies(a, b, relation)) for a in placed if a is not b]
            there = [a for a, is_there in sides if is_there]
            if len(there) == 1 and all(is_there is not None for _, is_there in sides):
                found.append(
                    Question(f"what shape is {relation} the {b.kind}?", there[0].kind.shape)
                )
    return rng.choice(found) if found else None


def _relation(rng: random.Random, part: Part, placed: Sequence[Object]) -> Question | None:
    found = [
        Question(f"is the {a.kind} {relation} the {b.kind}?", "yes" if is_so else "no")
        for a in _unique(placed)
        for b in _unique(placed)
        for relation in RELATIONS
        if a is not b and (is_so := lies(a, b, relation)) is not None
    ]
    return rng.choice(found) if found else None


def _exists(rng: random.Random, part: Part, placed: Sequence[Object]) -> Question:
    """A shape that is not there has, as a rule, the colour of one and the form of another."""
    shown = {o.kind for o in placed}
    if rng.random() < 0.5:
        return Question(f"is there a {rng.choice(sorted(shown))}?", "yes")
    absent = [kind for kind in kinds(part) if kind not in shown]
    colors, shapes = {kind.color for kind in shown}, {kind.shape for kind in shown}
    near = [kind for kind in absent if kind.color in colors and kind.shape in shapes]
    return Question(f"is there a {rng.choice(near or absent)}?", "no")


def _unique(placed: Sequence[Object]) -> list[Object]:
    everything = [o.kind for o in placed]
    return [o for o in placed if everything.count(o.kind) == 1]


def _only(rng: random.Random, placed: Sequence[Object], field: int) -> Kind | None:
    """A shape whose colour (field 0) or form (1) no other has."""
    values = [o.kind[field] for o in placed]
    alone = [o.kind for o in placed if values.count(o.kind[field]) == 1]
    return rng.choice(alone) if alone else None


_Ask = Callable[[random.Random, Part, Sequence[Object]], Question | None]
_TEMPLATES: dict[str, _Ask] = {
    "count": _count,
    "color": _color,
    "shape": _shape,
    "beside": _beside,
    "relation": _relation,
    "exists": _exists,
}
