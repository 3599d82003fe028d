"""What is asked about the things in a scene."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlmbench.data.mini.objects import Kind

ORDINALS = ("first", "second", "third")


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape or a word somewhere in a picture."""

    name: str
    color: str
    place: str
    """Empty: it is alone, and its place has no name."""

    def __str__(self) -> str:
        return f"{self.place} {self.color} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Question:
    kind: str
    text: str
    answer: str


Ask = Callable[[random.Random, Sequence[Thing]], Question | None]


def about_shapes(
    rng: random.Random, things: Sequence[Thing], found: Sequence[Kind]
) -> list[Question]:
    """Every kind of question that has one answer; `found` are the shapes that there could be."""
    asks: tuple[Ask, ...] = (_count, _color, _shape, _place, _at, _exists)
    asked = [ask(rng, things) for ask in asks]
    if rng.random() < 0.5:
        asked[-1] = _absent(rng, things, found)
    return [question for question in asked if question]


def about_words(rng: random.Random, things: Sequence[Thing]) -> list[Question]:
    """What is written, where and in which colour."""
    asked = [Question("count", "how many words are there?", str(len(things)))]
    if len(things) == 1:
        asked += [Question("read", "what is written?", things[0].name)]
    for thing in things:
        if thing.place:
            asked.append(Question("read", f"what is the {_at_place(thing.place)}?", thing.name))
        asked.append(Question("read", f"what is the {thing.color} word?", thing.name))
    named = rng.choice(things)
    asked.append(Question("color", f"what color is the word {named.name}?", named.color))
    return asked


def _at_place(place: str) -> str:
    return f"{place} word" if place in ORDINALS else f"word at the {place}"


def _count(rng: random.Random, things: Sequence[Thing]) -> Question:
    counts = {"shapes": len(things)}
    for thing in things:
        counts[f"{thing.color} shapes"] = sum(other.color == thing.color for other in things)
        counts[plural(thing.name)] = sum(other.name == thing.name for other in things)
    answer = rng.choice(sorted(set(counts.values())))
    what = rng.choice([what for what, count in counts.items() if count == answer])
    return Question("count", f"how many {what} are there?", str(answer))


def plural(shape: str) -> str:
    return f"{shape}es" if shape == "cross" else f"{shape}s"


def _color(rng: random.Random, things: Sequence[Thing]) -> Question | None:
    names = [thing.name for thing in things]
    single = [thing for thing in things if names.count(thing.name) == 1]
    if not single:
        return None
    thing = rng.choice(single)
    return Question("color", f"what color is the {thing.name}?", thing.color)


def _shape(rng: random.Random, things: Sequence[Thing]) -> Question | None:
    colors = [thing.color for thing in things]
    single = [thing for thing in things if colors.count(thing.color) == 1]
    if not single:
        return None
    thing = rng.choice(single)
    return Question("shape", f"what shape is {thing.color}?", thing.name)


def _place(rng: random.Random, things: Sequence[Thing]) -> Question | None:
    both = [(thing.color, thing.name) for thing in things]
    single = [thing for thing, pair in zip(things, both, strict=True) if both.count(pair) == 1]
    if not single:
        return None
    thing = rng.choice(single)
    return Question("place", f"where is the {thing.color} {thing.name}?", thing.place)


def _at(rng: random.Random, things: Sequence[Thing]) -> Question:
    thing = rng.choice(things)
    return Question("shape", f"what shape is at the {thing.place}?", thing.name)


def _exists(rng: random.Random, things: Sequence[Thing]) -> Question:
    thing = rng.choice(things)
    return Question("exists", f"is there a {thing.color} {thing.name}?", "yes")


def _absent(rng: random.Random, things: Sequence[Thing], found: Sequence[Kind]) -> Question:
    """A shape that is not there; if possible its colour is, and its form."""
    shown = {(thing.color, thing.name) for thing in things}
    absent = [kind for kind in found if (kind.color, kind.shape) not in shown]
    colors, names = {color for color, _ in shown}, {name for _, name in shown}
    near = [kind for kind in absent if kind.color in colors or kind.shape in names]
    kind = rng.choice(near or absent)
    return Question("exists", f"is there a {kind.color} {kind.shape}?", "no")
