"""Conditions of `--where` over named facts, such as `params<10e9 and (verified or kind=run)`.

A condition is comparisons and names joined by and, or, not and parentheses, which bind as in
Python. A comparison is NAME, one of < <= > >= = == !=, and a value: a number (10e9, 10B, 500M),
true, false, a word, or text in quotes. Text is compared without regard to case, and * and ? in the
value are wildcards. A name alone holds where its fact is true. A comparison with an unknown fact
does not hold, `!=` included. Of a fact with several values, one that fits is enough.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from vlmbench.errors import VlmbenchError, no_such

Fact: TypeAlias = "float | str | bool | None"
Facts: TypeAlias = Mapping[str, Sequence[Fact]]

WORD = r"""[^\s<>=!()"']+"""
JOINT = rf"(?:and|or|not)(?!{WORD})"
TOKEN = re.compile(
    rf"""(?P<joint>{JOINT}|[()])|(?P<name>{WORD})(?:\s*(?P<sign>[<>]=?|[=!]=|=)\s*"""
    rf"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?!{JOINT})(?P<word>{WORD})))?"""
)
ORDERINGS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}
MAX_DEPTH = 100
"""Nesting limit of `(` and `not`, each a level of Python recursion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One fact with one value; without a sign, the fact itself must be true."""

    name: str
    sign: str = ""
    text: str = ""
    number: float | None = None
    """None: the value is text."""

    is_exact: bool = False
    """True: text must be equal as it stands, case and wildcards included."""

    def __call__(self, facts: Facts) -> bool:
        return any(self.fits(fact) for fact in facts.get(self.name, ()))

    def fits(self, fact: Fact) -> bool:
        if not self.sign or fact is None:
            return fact is True
        if self.sign in ORDERINGS:  # the text of a category may be a number: a school grade
            found = _number(fact) if isinstance(fact, str) else fact
            if found is None or self.number is None or isinstance(found, bool):
                return False
            return ORDERINGS[self.sign](found, self.number)
        return self.is_value(fact) == (self.sign != "!=")

    def is_value(self, fact: float | str | bool) -> bool:
        """True if the fact is the comparison's value, whatever the sign."""
        if self.number is not None and isinstance(fact, float | int):
            return fact == self.number
        if self.is_exact:
            return fact == self.text
        return fnmatchcase(str(fact).lower(), self.text.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition that was read: call it with facts."""

    comparisons: tuple[Comparison, ...]
    """All that are in it, in the order in which they are written."""

    holds: Callable[[Facts], bool]

    def __call__(self, facts: Facts) -> bool:
        return self.holds(facts)


def equal(wanted: Mapping[str, str]) -> Condition:
    """The condition that each fact has exactly its text."""
    parts = tuple(
        Comparison(name=name, sign="=", text=text, is_exact=True) for name, text in wanted.items()
    )
    return Condition(comparisons=parts, holds=lambda facts: all(part(facts) for part in parts))


def parse(text: str, names: Collection[str] | None = None) -> Condition:
    """Read a condition; `names` are the facts that it may ask for, if they are known at this time.

    Raises: VlmbenchError, in one line with the place, for a condition that does not parse, and for
    an unknown name.
    """
    parts: dict[int, Comparison] = {}
    outline = [" "] * len(text)  # x for each comparison, in its place; Python parses what is left
    wants_fact, num_open, num_nested, position = True, 0, 0, 0
    while rest := text[position:].lstrip():
        position = len(text) - len(rest)
        token = TOKEN.match(text, position)
        joint = token["joint"] or "" if token else ""
        if not token or wants_fact != (joint in ("", "(", "not")):
            raise _wrong(text, position)
        if joint:
            outline[position : token.end()] = joint
        else:
            outline[position] = "x"
            parts[position + 1] = _comparison(token, names)
        num_open += {"(": 1, ")": -1}.get(joint, 0)
        num_nested += joint in ("(", "not")
        if num_open < 0 or num_nested > MAX_DEPTH:
            raise _wrong(text, position)
        wants_fact = joint not in ("", ")")
        position = token.end()
    if wants_fact or num_open:
        raise _wrong(text, len(text))
    tree = ast.parse(f"({''.join(outline)})", mode="eval").body
    return Condition(
        comparisons=tuple(parts.values()), holds=lambda facts: _holds(tree, parts, facts)
    )


def _holds(node: ast.expr, parts: Mapping[int, Comparison], facts: Facts) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_holds(value, parts, facts) for value in values)
        case ast.BoolOp(values=values):
            return any(_holds(value, parts, facts) for value in values)
        case ast.UnaryOp(operand=inner):
            return not _holds(inner, parts, facts)
    return parts[node.col_offset](facts)


def _comparison(token: re.Match[str], names: Collection[str] | None) -> Comparison:
    name, sign, word = token["name"], token["sign"] or "", token["word"]
    if names is not None and name not in names:
        raise no_such("fact", name, names, f"in the condition {token.string!r}")
    number = None if word is None else _number(word)
    if sign in ORDERINGS and number is None:
        raise _wrong(token.string, token.end("sign"), "a number should follow")
    text = next((text for text in (word, token["double"], token["single"]) if text is not None), "")
    return Comparison(name=name, sign=sign, text=text, number=number)


def _number(text: str) -> float | None:
    """10e9, 10B and 500M are numbers."""
    unit = UNITS.get(text[-1:].upper(), 1.0)
    digits = text[:-1] if unit > 1 else text
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", digits, re.IGNORECASE | re.ASCII):
        return None
    return float(digits) * unit


def _wrong(text: str, position: int, why: str = "") -> VlmbenchError:
    found = re.match(rf"\s*([<>=!]+|{WORD}|.)", text[position:])
    shown = f"{found[1]!r} is out of place" if found else "it ends too early"
    return VlmbenchError(
        f"cannot read the condition {text!r}: {why or shown} (at character {position + 1}); "
        "write such as NAME<10 and (NAME=word or NAME='several words')"
    )
