"""Fields of documents, their values, and the questions for them."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from typing import Literal

from vlmbench.data.mini.scenes import Part
from vlmbench.data.mini.words import divided, number, words

Kind = Literal["person", "city", "day", "price", "count", "code", "phone", "time", "word"]

FIELDS: dict[str, Kind] = {
    **dict.fromkeys(("name", "clerk", "doctor", "guest", "driver", "owner", "judge"), "person"),
    **dict.fromkeys(("city", "port", "town"), "city"),
    **dict.fromkeys(("date", "due", "born", "expires"), "day"),
    **dict.fromkeys(("tax", "cash", "change", "fee", "rent", "tip", "paid"), "price"),
    **dict.fromkeys(("room", "seat", "gate", "floor", "table", "age", "bed", "page"), "count"),
    **dict.fromkeys(("invoice", "order", "account", "ref", "ticket"), "code"),
    **dict.fromkeys(("phone", "fax"), "phone"),
    **dict.fromkeys(("time", "start", "end"), "time"),
    **dict.fromkeys(("team", "brand", "street", "school"), "word"),
}
"""All 43 names of fields, by kind of value."""

ASKED: dict[Kind, tuple[str, ...]] = {
    "person": ("what is the {field}'s name?", "who is the {field}?"),
    "city": ("what is the {field}?", "which {field} is given?"),
    "day": ("what is the {field} date?", "what day is given for {field}?"),
    "price": ("what is the {field}?", "how much is the {field}?"),
    "count": ("what is the {field}?", "what is the {field} number?"),
    "code": ("what is the {field} number?", "what is the number of the {field}?"),
    "phone": ("what is the {field} number?", "which {field} number is given?"),
    "time": ("what is the {field} time?", "what time is given for {field}?"),
    "word": ("what is the {field}?", "which {field} is given?"),
}
"""Questions for fields by kind, beside ANY_FIELD; those of some names are in OWN."""

ANY_FIELD = ("what is written for {field}?", "what does it say after {field}?")

OWN: dict[str, tuple[str, ...]] = {
    "name": ("what is the name?", "whose name is given?"),
    "date": ("what is the date?", "what is the date on the page?"),
    "time": ("what is the time?", "what time is given?"),
    "age": ("what is the age?", "how old is the person?"),
    "ref": ("what is the ref?", "what is the ref number?"),
}


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE = _listed(
    "ada alan alice amir amy ana andre anna ben bella boris bruno carl carla chen cleo clara "
    "dan dana david diego dora earl edith elena eli emil emma eric erik eva fatima felix "
    "fiona frank fred gina glen greta hana hans harry hugo ida igor iris ivan jack jada james "
    "jane jin joan joel jonas judy julia kai karl karen kate keiko kim kofi lara laura leo "
    "lena lily liam lola louis luca lucy luke mara marco maria max maya mei mia mila milo "
    "mona nadia nils nina noah nora olga oscar otto pablo paula peter petra quinn rafael "
    "rania rex rita rosa ruben ruth sami sara simon sofia stan sven tara theo tina tom uma "
    "vera victor vlad wei yara yusuf zoe"
)
CITIES = _listed(
    "accra agra alba amman ankara athens baku bari basel beirut berlin bern bogota bonn "
    "boston brno cairo cali chennai cork cusco dakar dallas delhi denver doha dover dublin "
    "essen fez geneva genoa ghent graz hanoi havana izmir jena kiel kyiv kyoto lagos leeds "
    "lille lima linz lisbon london lyon madrid malmo manila miami milan minsk mumbai munich "
    "nantes naples odessa omaha osaka oslo oxford paris perth pisa porto prague quito rabat "
    "reno riga rome rouen seoul tampa tokyo trier tunis turin vienna warsaw york zagreb "
    "zurich"
)
ITEMS = _listed(
    "apples bags beans beer belts bikes bolts books boots bowls boxes bulbs buns cakes caps "
    "chairs clocks coats combs cups dates desks dolls doors drums eggs fans figs flour forks "
    "grapes ham hats jam jars kale keys kites knives lamps leeks lemons limes locks maps "
    "melons mint mugs nails nets nuts olives onions pans pasta pears pens pies pins plates "
    "plums pots rakes rings ropes rugs saws seeds shirts shoes skis socks sofas spades spoons "
    "stamps tarts tea tents ties tiles tins toys tubs urns vans vases wigs yams yarn"
)
MONTHS = _listed("jan feb mar apr may jun jul aug sep oct nov dec")
DAYS_OF_MONTH = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A statement of a document, and the ways to ask for it."""

    questions: tuple[str, ...]
    answer: str
    type: str
    """One of the hub's question types: "form", "table/list", "layout", "free_text"."""


def field_fact(field: str, value: str) -> Fact:
    forms = OWN.get(field, ASKED[FIELDS[field]]) + ANY_FIELD
    return Fact(
        questions=tuple(form.format(field=field) for form in forms), answer=value, type="form"
    )


def value(rng: random.Random, part: Part, kind: Kind) -> str:
    """A value of the part; fewer than one in a hundred are equal."""
    if kind == "person":
        return person(rng, part)
    if kind == "city":
        return _named(rng, part, CITIES)
    if kind == "day":
        return day(rng, part)
    if kind == "price":
        return price(rng, part)
    if kind == "count":
        return count(rng, part)
    if kind == "code":
        return f"{rng.choice(string.ascii_uppercase)}{number(rng, part, 100, 9999)}"
    if kind == "phone":
        return f"{rng.randint(10, 99)}-{number(rng, part, 1000, 9999)}"
    if kind == "time":
        minutes = number(rng, part, 0, 24 * 60 - 1)
        return f"{minutes // 60}:{minutes % 60:02d}"
    return rng.choice(words(part))


def person(rng: random.Random, part: Part) -> str:
    return _named(rng, part, PEOPLE)


def item(rng: random.Random, part: Part) -> str:
    return _named(rng, part, ITEMS)


def _named(rng: random.Random, part: Part, names: tuple[str, ...]) -> str:
    return rng.choice(words(part) if part == "practice" else divided(names, part))


def count(rng: random.Random, part: Part) -> str:
    return str(number(rng, part, 10, rng.choice((99, 999))))


def price(rng: random.Random, part: Part) -> str:
    return f"{number(rng, part, 100, rng.choice((999, 9999))) / 100:.2f}"


def day(rng: random.Random, part: Part) -> str:
    """One of 336 days, such as "12 may"."""
    month, before = divmod(number(rng, part, 0, len(MONTHS) * DAYS_OF_MONTH - 1), DAYS_OF_MONTH)
    return f"{before + 1} {MONTHS[month]}"
