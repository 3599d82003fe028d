"""Small conditions over named facts, such as `params<10e9 and (verified or kind=run)`.

    condition  = both ("or" both)*
    both       = part ("and" part)*
    part       = "not" part | "(" condition ")" | NAME [comparison value]
    comparison = "<" | "<=" | ">" | ">=" | "=" | "==" | "!="
    value      = a number (10e9, 10B, 500M) | a word | text in quotes, with * and ? as wildcards

A name alone holds where its fact is true. A comparison with a fact that is not known does not hold,
`!=` included. A fact may have several values: then one that fits is enough.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from vlmbench.errors import VlmbenchError, no_such

Fact: TypeAlias = "float | str | bool | None"
Facts: TypeAlias = Mapping[str, Sequence[Fact]]
Condition: TypeAlias = Callable[[Facts], bool]

TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign><=|>=|!=|==|[<>=()])|(?P<word>[^\s<>=!()"']+))"""
)
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}
WORDS = ("and", "or", "not")
MAX_DEPTH = 100  # the parser calls itself thrice for each


def parse(text: str, names: Collection[str]) -> Condition:
    """The condition; `names` are the facts that it may ask for.

    Raises: VlmbenchError, in one line with the place, for a condition that does not parse, and for
    an unknown name.
    """
    return _Parser(text, names).whole()


class _Parser:
    def __init__(self, text: str, names: Collection[str]) -> None:
        self._text, self._names = text, names
        self._tokens: list[tuple[str, int]] = []
        position = 0
        while text[position:].strip():
            found = TOKEN.match(text, position)
            if not found:
                raise self._wrong(f"{text[position:].strip()[0]!r} has no meaning", position)
            token = found[0].strip()
            self._tokens.append((token, found.end() - len(token)))
            position = found.end()
        self._next = 0

    def whole(self) -> Condition:
        if sum(token in ("(", "not") for token, _ in self._tokens) > MAX_DEPTH:
            raise self._wrong(f"it has more than {MAX_DEPTH} of ( and not")
        condition = self._either()
        if self._peek():
            raise self._unexpected("and, or, or the end")
        return condition

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda facts: any(part(facts) for part in parts)

    def _both(self) -> Condition:
        parts = [self._part()]
        while self._take("and"):
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else lambda facts: all(part(facts) for part in parts)

    def _part(self) -> Condition:
        if self._take("not"):
            inner = self._part()
            return lambda facts: not inner(facts)
        if self._take("("):
            inner = self._either()
            if not self._take(")"):
                raise self._unexpected("a )")
            return inner
        name = self._word("the name of a fact")
        if name not in self._names:
            raise no_such("fact", name, self._names, f"in the condition {self._text!r}")
        sign = self._peek()
        if sign not in COMPARISONS:
            return lambda facts: True in facts.get(name, ())
        self._next += 1
        return _comparison(name, sign, self._value(sign))

    def _value(self, sign: str) -> float | str | bool:
        value = _value(self._word("a value"))
        if sign[0] in "<>" and not isinstance(value, float):
            self._next -= 1
            raise self._unexpected("a number")
        return value

    def _word(self, wanted: str) -> str:
        token = self._peek()
        if not token or token in COMPARISONS or token in "()" or token in WORDS:
            raise self._unexpected(wanted)
        self._next += 1
        return token

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self, token: str) -> bool:
        found = self._peek() == token
        self._next += found
        return found

    def _unexpected(self, wanted: str) -> VlmbenchError:
        if self._next == len(self._tokens):
            return self._wrong(f"it ends where {wanted} should be")
        token, position = self._tokens[self._next]
        return self._wrong(f"{wanted} should be where {token!r} is", position)

    def _wrong(self, why: str, position: int | None = None) -> VlmbenchError:
        where = "" if position is None else f" (at character {position + 1})"
        return VlmbenchError(
            f"cannot read the condition {self._text!r}: {why}{where}; "
            "write such as params<10e9 and verified"
        )


def _comparison(name: str, sign: str, value: float | str | bool) -> Condition:
    def fits(fact: Fact) -> bool:
        if fact is None:
            return False
        if isinstance(value, bool) or isinstance(fact, bool):
            return (fact is value) == (sign != "!=")
        if isinstance(value, str) or isinstance(fact, str):
            return fnmatchcase(str(fact).lower(), str(value).lower()) == (sign != "!=")
        return COMPARISONS[sign](fact, value)

    return lambda facts: any(fits(fact) for fact in facts.get(name, ()))


def _value(text: str) -> float | str | bool:
    """10e9, 10B and 500M are numbers, true and false what they are, all else is text."""
    if text[0] in "\"'":
        return text[1:-1]
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    unit = UNITS.get(text[-1].upper(), 1.0)
    digits = text[:-1] if unit > 1 else text
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", digits, re.IGNORECASE | re.ASCII):
        return text
    return float(digits) * unit
