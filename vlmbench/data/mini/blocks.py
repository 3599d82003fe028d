"""Blocks of a document: the lines of a form, bill, list, table or letter, and what they say.

`used` holds the fields, items and names that the page has already, so that a question has one
answer; a builder adds its own. Lines that do not fit into the column are drawn anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from vlmbench.data.mini.fields import (
    FIELDS,
    Fact,
    count,
    day,
    field_fact,
    item,
    person,
    price,
    value,
)
from vlmbench.data.mini.paper import Line, Paper
from vlmbench.data.mini.scenes import Part
from vlmbench.data.mini.words import words

TRIES = 20
"""Attempts at a line that fits, after which it is left out."""

FORM_HEADINGS = ("form", "record", "report", "card", "notice", "details")
LIST_HEADINGS = (
    *("monday", "tuesday", "friday", "sunday", "lunch", "dinner", "to do", "notes"),
    *("goals", "winners", "colors", "games", "rules", "topics"),
)
COLUMNS = ("points", "votes", "hours", "goals", "miles", "days")
SHOPS = ("shop", "bar", "inn", "store", "cafe", "market")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


@dataclass(slots=True)
class Block:
    lines: list[Line] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def add(self, line: Line | None, *facts: Fact) -> bool:
        """Adds a line with its facts, and returns whether there was one."""
        if line is None:
            return False
        self.lines.append(line)
        self.facts += facts
        return True


Build = Callable[[random.Random, Part, Paper, int, set[str]], Block]


def form(rng: random.Random, part: Part, paper: Paper, num_lines: int, used: set[str]) -> Block:
    block = Block()
    if rng.random() < 0.5:
        block.add(paper.heading(rng.choice(FORM_HEADINGS)))
    for _ in range(TRIES):
        if len(block.lines) == num_lines:
            break
        name = rng.choice(tuple(FIELDS))
        text = value(rng, part, FIELDS[name])
        if FIELDS[name] in ("person", "city", "word"):
            text = paper.value(text)
        if name not in used and block.add(paper.pair(name, text), field_fact(name, text)):
            used.add(name)
    return block


def bill(rng: random.Random, part: Part, paper: Paper, num_lines: int, used: set[str]) -> Block:
    """Items with their prices, or with how many there are; perhaps a shop and a total."""
    block = Block()
    shop = paper.value(rng.choice(words(part)))
    kind = rng.choice(SHOPS)
    if "shop" not in used and rng.random() < 0.6:
        called = ("what is the name of the {kind}?", "what is the {kind} called?")
        if block.add(paper.text(f"{shop} {kind}"), _fact(called, shop, "layout", kind=kind)):
            used.add("shop")
    is_priced = rng.random() < 0.6
    has_total = is_priced and "total" not in used
    forms = (
        ("what is the price of {item}?", "how much are the {item}?", "what do {item} cost?")
        if is_priced
        else ("how many {item}?", "how many {item} are there?", "what is the number of {item}?")
    )
    for _ in range(TRIES):
        if len(block.lines) >= num_lines - has_total:
            break
        name = item(rng, part)
        text = price(rng, part) if is_priced else count(rng, part)
        fact = _fact(forms, text, "table/list", item=name)
        if name not in used and block.add(paper.pair(name, text), fact):
            used.add(name)
    if has_total:
        text = price(rng, part)
        asked = ("what is the total?", "how much is the total?", "what is the total price?")
        if block.add(paper.pair("total", text), _fact(asked, text, "table/list")):
            used.add("total")
    return block


def numbered(rng: random.Random, part: Part, paper: Paper, num_lines: int, used: set[str]) -> Block:
    """A heading and a numbered list of words."""
    block = Block()
    name = rng.choice(LIST_HEADINGS)
    if name in used or not block.add(paper.heading(name)):
        return block
    used.add(name)
    for i in range(num_lines - 1):
        forms = (
            "what is number {number} under {name}?",
            "what is {ordinal} under {name}?",
            "what is number {number} on the {name} list?",
        )
        for _ in range(TRIES):
            word = paper.value(rng.choice(words(part)))
            fact = _fact(forms, word, "table/list", number=i + 1, ordinal=ORDINALS[i], name=name)
            if block.add(paper.text(f"{i + 1}. {word}"), fact):
                break
    return block


def table(rng: random.Random, part: Part, paper: Paper, num_lines: int, used: set[str]) -> Block:
    """People and their numbers."""
    block = Block()
    column = rng.choice(COLUMNS)
    if column in used or not block.add(paper.heading(column)):
        return block
    used.add(column)
    for _ in range(TRIES):
        if len(block.lines) == num_lines:
            break
        name, points = person(rng, part), count(rng, part)
        if name in used or points in used:
            continue
        shown = paper.key(name)
        facts = (
            _fact(
                ("how many {column} has {name}?", "how many {column} does {name} have?"),
                points,
                "table/list",
                column=column,
                name=name,
            ),
            _fact(
                ("who has {points} {column}?",),
                shown,
                "table/list",
                points=points,
                column=column,
            ),
        )
        if block.add(paper.pair(name, points), *facts):
            used |= {name, points}
    return block


def letter(rng: random.Random, part: Part, paper: Paper, num_lines: int, used: set[str]) -> Block:
    """A letter's head, or a short letter with its greeting."""
    to, sender = (paper.value(person(rng, part)) for _ in range(2))
    if to == sender:
        return Block()
    receives = _fact(("who is the letter to?", "who gets the letter?"), to, "layout")
    sends = _fact(("who is the letter from?", "who wrote the letter?"), sender, "layout")
    if rng.random() < 0.5:
        block = _head(rng, part, paper, receives, sends)
    else:
        block = Block()
        block.add(paper.text(f"dear {to},"), receives)
        for _ in range(num_lines - 3):
            block.add(paper.text(" ".join(rng.choices(words(part), k=2))))
        block.add(paper.text(f"love, {sender}"), sends)
    if "date" not in used:  # a form's date would be another
        forms = ("when was the letter written?", "what is the date of the letter?")
        written = day(rng, part)
        if block.add(paper.text(written), _fact(forms, written, "layout")):
            used.add("date")
    return block


def _head(rng: random.Random, part: Part, paper: Paper, receives: Fact, sends: Fact) -> Block:
    subject = paper.value(rng.choice(words(part)))
    forms = ("what is the letter about?", "what is the subject of the letter?")
    people = [("to", receives), ("from", sends)]
    rng.shuffle(people)
    block = Block()
    for key, fact in (*people, ("re", _fact(forms, subject, "free_text"))):
        block.add(paper.pair(key, fact.answer), fact)
    return block


def _fact(forms: tuple[str, ...], answer: str, type: str, **names: object) -> Fact:
    return Fact(questions=tuple(form.format(**names) for form in forms), answer=answer, type=type)


BUILDERS: dict[str, Build] = {
    "form": form,
    "bill": bill,
    "list": numbered,
    "table": table,
    "letter": letter,
}
