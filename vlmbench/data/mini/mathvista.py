"""MathVista's stand-in: bar charts, shapes to count, measured rectangles, rulers and clocks."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from vlmbench.data.mini import bars, objects
from vlmbench.data.mini.drawing import Box, Canvas, text_width
from vlmbench.data.mini.fonts import FACES
from vlmbench.data.mini.objects import COLORS, Kind, Object, kinds
from vlmbench.data.mini.scenes import Exercise, Part, has

UNIT = "cm"
HINTS = {
    "text": "Please answer the question and provide the correct option letter, e.g., A, B, C, D, "
    "at the end.",
    "integer": "Please answer the question requiring an integer answer and provide the final "
    "value, e.g., 1, 2, 3, at the end.",
    "float": "Please answer the question requiring a floating-point number with one decimal place "
    "and provide the final value, e.g., 1.2, 1.3, 1.4, at the end.",
    "list": "Please answer the question requiring a Python list as an answer and provide the final "
    "list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
}
"""Hints of prompts by answer type. Source: MathVista, evaluation/build_query.py."""


CHART_QUESTIONS = (
    *("value", "value", "value", "extreme", "extreme", "extreme", "above", "above"),
    *("difference", "sum", "mean"),
)
"""Questions for charts, repeated by frequency; one chart in twenty is asked all its values too."""


class Problem(NamedTuple):
    question: str
    answer: str
    answer_type: str = "integer"
    choices: tuple[str, ...] = ()
    unit: str | None = None
    rationale: str = ""
    """Reasoning before the answer; see `Exercise`."""


class Topic(NamedTuple):
    """Categories of a kind of scene in MathVista's breakdown."""

    task: str
    context: str
    skill: str


class Scene(NamedTuple):
    topic: Topic
    image: Image.Image
    problems: Sequence[Problem]
    others: Sequence[Problem] = ()
    """Further questions about the picture, for training."""


CHART = Topic("figure question answering", "bar chart", "statistical reasoning")
SHAPES = Topic("visual question answering", "synthetic scene", "arithmetic reasoning")
GEOMETRY = Topic("geometry problem solving", "geometry diagram", "geometry reasoning")
MEASURE = Topic("visual question answering", "abstract scene", "numeric commonsense")


def draw(rng: random.Random, part: Part, index: int) -> list[dict[str, Any]]:
    """One or two questions; the source names the kind of scene and its level."""
    kind = rng.choice(("bars", "bars", "bars", "count", "rectangle", "ruler", "clock"))
    level = "hard" if rng.random() < 0.4 else "easy"
    scene = _SCENES[kind](rng, part, level)
    source = f"mini {kind}, {level}"
    return [
        _row(f"{index}-{i}", source, part, scene, problem)
        for i, problem in enumerate(scene.problems)
    ]


def exercises(rng: random.Random, part: Part, index: int) -> list[Exercise]:
    """All questions of a scene; kinds with a single one are more frequent than in the task."""
    kind = rng.choice(("bars", "count", "rectangle", "ruler", "ruler", "clock", "clock"))
    level = rng.choice(("easy", "hard"))
    scene = _SCENES[kind](rng, part, level)
    source = f"mini {kind}, {level}"
    problems = {problem.question: problem for problem in (*scene.problems, *scene.others)}
    return [
        Exercise(_row(f"{index}-{i}", source, part, scene, problem), problem.rationale)
        for i, problem in enumerate(problems.values())
    ]


def _row(pid: str, source: str, part: Part, scene: Scene, problem: Problem) -> dict[str, Any]:
    topic, image = scene.topic, scene.image
    choices = list(problem.choices) or None
    return {
        "pid": pid,
        "question": problem.question,
        "image": f"images/{pid.partition('-')[0]}.png",
        "decoded_image": image,
        "choices": choices,
        "unit": problem.unit,
        "precision": 1.0 if problem.answer_type == "float" else None,
        "answer": problem.answer,
        "question_type": "multi_choice" if choices else "free_form",
        "answer_type": problem.answer_type,
        "metadata": {
            "category": "math-targeted-vqa",
            "context": topic.context,
            "grade": "elementary school",
            "img_height": image.height,
            "img_width": image.width,
            "language": "english",
            "skills": [topic.skill],
            "source": source,
            "split": "testmini" if part == "test" else "train",
            "task": topic.task,
        },
        "query": query(problem),
    }


def query(problem: Problem) -> str:
    """The benchmark's own prompt. Source: as of `HINTS`."""
    unit = f" (Unit: {problem.unit})" if problem.unit else ""
    lines = [f"Hint: {HINTS[problem.answer_type]}", f"Question: {problem.question}{unit}"]
    if problem.choices:
        lines.append("Choices:")
        lines += [f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(problem.choices)]
    return "\n".join(lines)


def _bars(rng: random.Random, part: Part, level: str) -> Scene:
    """Easy: values stand above the bars. Hard: they are read off a scale, in twice the pixels."""
    count = rng.randint(2, 4)
    if level == "easy":
        chart = bars.labelled(rng, part, 96, count)
    else:
        chart = bars.scaled(rng, part, rng.choice((96, 192)), count)
    asks = [rng.choice(CHART_QUESTIONS) for _ in range(2)]
    if rng.random() < 0.05:
        asks[0] = "list"
    asked = [_about(rng, chart.values, what) for what in dict.fromkeys(asks)]
    others = [_about(rng, chart.values, what) for what in (*CHART_QUESTIONS, "list")]
    return Scene(CHART, chart.image, asked, others)


def _about(rng: random.Random, values: dict[str, int], what: str) -> Problem:
    a, b = rng.sample(sorted(values), 2)
    both = values[a] + values[b]
    pair = f"{a} {values[a]} + {b} {values[b]}"
    listed = ", ".join(f"{color} {value}" for color, value in values.items())
    if what == "value":
        text = f"what is the value of the {a} bar?"
        return Problem(text, str(values[a]), rationale=f"{listed}: {a} {values[a]} =")
    if what == "extreme":
        word, found = rng.choice((("highest", max), ("lowest", min)))
        choices = rng.sample(sorted(values), len(values))
        answer = found(values, key=values.__getitem__)
        return Problem(
            f"which bar is the {word}?", answer, "text", tuple(choices), rationale=f"{listed}:"
        )
    if what == "above":
        num_above = rng.randint(0, len(values))  # drawn first: all are equally likely
        possible = range(bars.SCALE + 1)
        bounds = [n for n in possible if sum(v > n for v in values.values()) == num_above]
        bound = rng.choice(bounds)
        each = ", ".join(f"{v} {'yes' if v > bound else 'no'}" for v in values.values())
        text = f"how many bars are higher than {bound}?"
        return Problem(text, str(num_above), rationale=f"{each} =")
    if what == "difference":
        text = f"what is the difference between the {a} bar and the {b} bar?"
        larger, smaller = max(values[a], values[b]), min(values[a], values[b])
        both_listed = f"{a} {values[a]}, {b} {values[b]}"
        rationale = f"{listed}: {both_listed}: {larger} - {smaller} ="
        return Problem(text, str(larger - smaller), rationale=rationale)
    if what == "sum":
        text = f"what is the sum of the {a} bar and the {b} bar?"
        return Problem(text, str(both), rationale=f"{listed}: {pair} =")
    if what == "mean":
        text = f"what is the mean of the {a} bar and the {b} bar?"
        rationale = f"{pair} = {both}, {both} / 2 ="
        return Problem(text, f"{both / 2:.1f}", "float", rationale=rationale)
    return Problem("what are the values from left to right?", str([*values.values()]), "list")


def _count(rng: random.Random, part: Part, level: str) -> Scene:
    """Easy: all shapes, up to 6. Hard: those of a colour or a form, of up to 9 in all."""
    count = rng.randint(1, 6) if level == "easy" else rng.randint(4, 9)
    field = rng.randrange(2)
    kind = rng.choice(kinds(part))
    same = rng.randint(0, min(count, 6))
    alike = [other for other in kinds(part) if other[field] == kind[field]]
    others = [other for other in kinds(part) if other[field] != kind[field]]
    shown = [rng.choice(alike if i < same else others) for i in range(count)]
    size = rng.choice((72, 96)) if level == "easy" else rng.choice((96, 192))
    places = objects.cells(rng, size, 3 if size < 192 else 4, count, fill=(0.55, 0.8))
    placed = [Object(one, *place) for one, place in zip(shown, places, strict=True)]
    image = objects.draw(rng, size, placed).image
    every = Problem("how many shapes are there?", str(count))
    numbers = Counter(_group(one, field) for one in shown)
    some = [
        Problem(f"how many {group} are there?", str(numbers[group]))
        for group in dict.fromkeys((_group(kind, field), *numbers))
    ]
    return Scene(SHAPES, image, [every if level == "easy" else some[0]], [every, *some])


def _group(kind: Kind, field: int) -> str:
    """Shapes of the same colour (field 0) or form (1)."""
    return f"{kind.color} shapes" if field == 0 else objects.plural(kind.shape)


def _rectangle(rng: random.Random, part: Part, level: str) -> Scene:
    """Two sides have their lengths. Easy: one of them is asked for. Hard: perimeter or area."""
    while True:
        width, height = rng.randint(2, 9), rng.randint(2, 9)
        if width != height and ((width + 2 * height) % 3 == 2) == (part == "test"):
            break
    face, type_size = rng.choice(FACES[part]), rng.randint(14, 16)
    canvas = Canvas(96, 96)
    scale = 52 / max(width, height) * rng.uniform(0.85, 1)
    across, down = max(20, round(width * scale)), max(20, round(height * scale))
    left, top = rng.randint(3, 74 - across), rng.randint(3, 74 - down)
    box = Box(left, top, left + across, top + down)
    canvas.rectangle(box, rng.choice(bars.COLORS_OF_BARS), "black")
    text = str(width)
    canvas.write(
        left + (across - text_width(text, face, type_size)) // 2,
        box.bottom + 1,
        text,
        face,
        type_size,
    )
    canvas.write(
        box.right + 4, top + down // 2 - round(0.65 * type_size), str(height), face, type_size
    )
    unit = UNIT if rng.random() < 0.5 else None
    sides = [
        Problem(f"what is the {side} of the rectangle?", str(length), unit=unit)
        for side, length in (("width", width), ("height", height))
    ]
    half, (shorter, longer) = width + height, sorted((width, height))
    whole = [
        Problem(
            "what is the perimeter of the rectangle?",
            str(2 * half),
            unit=unit,
            rationale=f"2 * ({shorter} + {longer}) = 2 * {half} =",
        ),
        Problem(
            "what is the area of the rectangle?",
            str(width * height),
            rationale=f"{shorter} * {longer} =",
        ),
    ]
    asked = [rng.choice(sides)] if level == "easy" else whole
    return Scene(GEOMETRY, canvas.image, asked, [*sides, *whole])


def _ruler(rng: random.Random, part: Part, level: str) -> Scene:
    """A bar above a ruler. Easy: it starts at 0. Hard: it may start anywhere."""
    color = rng.choice(bars.COLORS_OF_BARS)
    starts = [0] if level == "easy" else range(9)
    i = bars.COLORS_OF_BARS.index(color)
    spans = [
        (start, end)
        for start in starts
        for end in range(start + 1, 10)
        if has(part, i + start + end)
    ]
    length = rng.choice(sorted({end - start for start, end in spans}))
    start, end = rng.choice([span for span in spans if span[1] - span[0] == length])
    size = 96 if level == "easy" else 192
    step = 9 if level == "easy" else 19
    left, top = rng.randint(4, size - 9 * step - 8), rng.randint(8, size // 2)
    canvas = Canvas(size, 96 if level == "easy" else 192)
    thick = rng.randint(8, 14)
    bars.bar(canvas, part, Box(left + start * step, top, left + end * step + 1, top + thick), color)
    y, face = top + thick + 3, rng.choice(FACES[part])
    canvas.line(left, y, left + 9 * step, y)
    type_size = 12 if level == "easy" else 14
    for tick in range(10):
        x = left + tick * step
        is_named = level == "hard" or tick % 3 == 0
        canvas.line(x, y, x, y + (6 if is_named else 3))
        if is_named:
            label = str(tick)
            canvas.write(x - text_width(label, face, type_size) // 2, y + 6, label, face, type_size)
    problem = Problem(
        f"how long is the {color} bar?", str(length), unit=UNIT, rationale=f"{end} - {start} ="
    )
    return Scene(MEASURE, canvas.image, [problem])


def _clock(rng: random.Random, part: Part, level: str) -> Scene:
    """Easy: full hours, asked as a number. Hard: half hours too, among four times."""
    color = rng.choice(COLORS)
    i = COLORS.index(color)
    hour = rng.choice([h for h in range(1, 13) if has(part, i + h)])
    is_half = level == "hard" and rng.random() < 0.5
    size = rng.choice((64, 80, 96))
    centre, radius = size // 2, size // 2 - 3
    canvas = Canvas(size, size, objects.paper(rng))
    for tick in range(12):
        canvas.line(
            *_at(centre, tick / 12, 0.88 * radius), *_at(centre, tick / 12, radius), width=2
        )
    canvas.line(centre, centre, *_at(centre, 0.5 * is_half, 0.8 * radius), "black", 2)
    tip = _at(centre, (hour + 0.5 * is_half) / 12, 0.5 * radius)
    canvas.line(centre, centre, *tip, color, 2 if part == "practice" else 4)
    full = Problem("what hour does the clock show?", str(hour))
    every = [f"{h}:{m}" for h in range(1, 13) for m in ("00", "30")]
    answer = f"{hour}:{'30' if is_half else '00'}"
    choices = [answer, *rng.sample([time for time in every if time != answer], 3)]
    rng.shuffle(choices)
    time = Problem("what time does the clock show?", answer, "text", tuple(choices))
    asked = full if level == "easy" else time
    return Scene(MEASURE, canvas.image, [asked], [time] if is_half else [full, time])


def _at(centre: int, turn: float, radius: float) -> tuple[int, int]:
    """The point at a share of a turn, clockwise from above."""
    angle = 2 * math.pi * turn
    return round(centre + radius * math.sin(angle)), round(centre - radius * math.cos(angle))


_SCENES = {
    "bars": _bars,
    "count": _count,
    "rectangle": _rectangle,
    "ruler": _ruler,
    "clock": _clock,
}
