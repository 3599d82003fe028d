"""Safe evaluation of Python expressions: bounded time and memory, no access to anything else.

Supported are numbers, strings, containers, comparisons, comprehensions, a few methods and built-in
functions, and the `math` module. Anything else, and any value that grows too large, is refused.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

MAX_STEPS = 5_000
MAX_WORK = 300_000
"""Limit on the parts of values that are looked at, in all steps together."""

MAX_SIZE = 1_000
"""Limit on a string's characters, a container's items (nested ones included), a power's bits."""

Names = ChainMap[str, Any]


class RefusedError(Exception):
    """The program uses an unsupported feature, or exceeds a limit."""


MATH: Mapping[str, Any] = MappingProxyType(
    {
        name: getattr(math, name)
        for name in (
            *("acos", "asin", "atan", "atan2", "ceil", "cos", "degrees", "dist", "e", "exp"),
            *("fabs", "floor", "fmod", "gcd", "hypot", "inf", "isclose", "isqrt", "log", "log10"),
            *("log2", "nan", "pi", "pow", "radians", "sin", "sqrt", "tan", "trunc"),
        )
    }
)
"""Members of the `math` module that programs may use: none with huge results."""

_METHODS: Mapping[type, Sequence[str]] = {
    str: (
        *("count", "endswith", "find", "index", "isdigit", "join", "lower", "replace", "split"),
        *("startswith", "strip", "title", "upper"),
    ),
    list: ("append", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort"),
    tuple: ("count", "index"),
    dict: ("get", "items", "keys", "values"),
    set: ("add",),
}
_CONTAINERS = (str, list, tuple, dict, set)
_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: lambda left, right: _is_same(left, right),
    ast.IsNot: lambda left, right: not _is_same(left, right),
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_FORMAT = re.compile(r",?(?:\.\d)?[dfeg%]?")


class Evaluator:
    """Evaluator of one program's expressions; it counts steps, and the sizes of their values."""

    def __init__(self) -> None:
        self.steps = 0
        self.work = 0

    def bounded(self, value: Any) -> Any:
        """The value itself, whose size counts; refused if that is too large.

        Values are looked at again before they are used: what was evaluated in between may have
        made them grow.
        """
        self.work += size_of(value)
        if self.work > MAX_WORK:
            raise RefusedError
        return value

    def step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise RefusedError

    def value(self, node: ast.expr, names: Names) -> Any:
        """The value of an expression; `names` are the variables, the innermost scope first."""
        self.step()
        return self.bounded(self._value(node, names))

    def _value(self, node: ast.expr, names: Names) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return names[name]
            case ast.Subscript(value=owner, slice=ast.Slice(lower=low, upper=high, step=None)):
                ends = (None if end is None else self.value(end, names) for end in (low, high))
                return self.value(owner, names)[slice(*ends)]
            case ast.Subscript(value=owner, slice=index):
                return self.value(owner, names)[self.value(index, names)]
            case ast.Attribute(value=owner, attr=name):
                return _attribute(self.value(owner, names), name)
            case ast.Call():
                return self._called(node, names)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.value(test, names) else orelse, names)
            case ast.ListComp(elt=element, generators=[over]):
                return self._comprehended(element, over, names)
            case ast.GeneratorExp(elt=element, generators=[over]):
                return self._comprehended(element, over, names)
            case ast.JoinedStr(values=parts):
                return "".join(self._formatted(part, names) for part in parts)
        return self._combined(node, names)

    def _combined(self, node: ast.expr, names: Names) -> Any:
        match node:
            case ast.List(elts=elements):
                return [self.value(element, names) for element in elements]
            case ast.Tuple(elts=elements):
                return tuple(self.value(element, names) for element in elements)
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                return {
                    self.value(key, names): self.value(item, names) for key, item in pairs if key
                }
            case ast.BinOp(left=left, op=op, right=right):
                pair = self.value(left, names), self.value(right, names)
                return binary(op, *self.bounded(pair))
            case ast.UnaryOp(op=unary, operand=operand) if type(unary) in _UNARY:
                return _UNARY[type(unary)](self.value(operand, names))
            case ast.BoolOp(op=either, values=[*firsts, last]):
                for part in firsts:
                    result = self.value(part, names)
                    if bool(result) is isinstance(either, ast.Or):
                        return result
                return self.value(last, names)
            case ast.Compare(left=left, ops=ops, comparators=others):
                values = self.bounded([self.value(part, names) for part in (left, *others)])
                triples = zip(ops, values[:-1], values[1:], strict=True)
                return all(_COMPARE[type(compare)](old, new) for compare, old, new in triples)
        raise RefusedError

    def _called(self, node: ast.Call, names: Names) -> Any:
        function = self.value(node.func, names)
        values = [self.value(arg, names) for arg in node.args]
        named = {word.arg: self.value(word.value, names) for word in node.keywords if word.arg}
        if not callable(function) or len(named) < len(node.keywords):
            raise RefusedError
        owner = getattr(function, "__self__", None)
        own = (owner,) if isinstance(owner, _CONTAINERS) else ()
        self.bounded([*own, *values, *named.values()])
        if any(isinstance(value, set) for value in values):
            if named or function not in _ORDERLESS:
                raise RefusedError
            values = [_ordered(value) if isinstance(value, set) else value for value in values]
        result = function(*values, **named)
        self.bounded(own)  # the method may have made it grow
        is_view = isinstance(result, Iterable) and not isinstance(result, _CONTAINERS)
        return listed(result) if is_view else result

    def _comprehended(self, element: ast.expr, over: ast.comprehension, names: Names) -> list[Any]:
        inner = names.new_child()
        found = []
        for item in listed(self.value(over.iter, names)):
            self.assign(over.target, item, inner)
            if all(self.value(condition, inner) for condition in over.ifs):
                found.append(self.value(element, inner))
        return found

    def _formatted(self, part: ast.expr, names: Names) -> str:
        match part:
            case ast.Constant(value=str(text)):
                return text
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return text_of(self.value(value, names))
            case ast.FormattedValue(
                value=value,
                conversion=-1,
                format_spec=ast.JoinedStr(values=[ast.Constant(value=str(form))]),
            ) if _FORMAT.fullmatch(form):
                return format(self.value(value, names), form)
        raise RefusedError

    def assign(self, target: ast.expr, value: Any, names: Names) -> None:
        match target:
            case ast.Name(id=name):
                names[name] = value
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part, item in zip(targets, listed(value), strict=True):
                    self.assign(part, item, names)
            case ast.Subscript(value=container, slice=index):
                owner = self.value(container, names)
                owner[self.value(index, names)] = value
                self.bounded(owner)
            case _:
                raise RefusedError


def binary(op: ast.operator, left: Any, right: Any) -> Any:
    """`left` `op` `right`; refused before it takes much time or memory."""
    match op, left, right:
        case (ast.Mult(), str() | list() | tuple() as items, int(times)) | (
            ast.Mult(),
            int(times),
            str() | list() | tuple() as items,
        ) if len(items) * times > MAX_SIZE:
            raise RefusedError
        case ast.Pow(), int(), int() if left.bit_length() * abs(right) > MAX_SIZE:
            raise RefusedError
        case ast.Mod(), str(), _:
            raise RefusedError
    if type(op) not in _BINARY:
        raise RefusedError
    return _BINARY[type(op)](left, right)


def size_of(value: Any) -> int:
    """How many parts a value has; refused if too many, or of a type that is not supported."""
    left = MAX_SIZE
    parts = [value]
    while parts:
        part = parts.pop()
        left -= 1
        if isinstance(part, (list, tuple, set)):
            parts.extend(part)
        elif isinstance(part, dict):
            parts.extend((*part.keys(), *part.values()))
        elif isinstance(part, str):
            left -= len(part)
        elif isinstance(part, int):
            left -= part.bit_length() // 10
        elif not (part is None or part is MATH or isinstance(part, float) or callable(part)):
            raise RefusedError
        if left < len(parts):
            raise RefusedError
    return MAX_SIZE - left


def listed(items: Iterable[Any]) -> list[Any]:
    """The items as a list; refused before it grows too long, and for a set.

    The order of a set of texts differs from process to process.
    """
    if isinstance(items, set):
        raise RefusedError
    found: list[Any] = []
    for item in items:
        if len(found) == MAX_SIZE:
            raise RefusedError
        found.append(item)
    return found


_ORDERLESS = (len, sorted, min, max, sum, any, all, set, bool)
"""Functions whose result does not depend on the order of a set."""


def _ordered(items: set[Any]) -> list[Any]:
    """A set's items from the least on; refused where they cannot be ordered."""
    are_texts = all(isinstance(item, str) for item in items)
    if not are_texts and not all(isinstance(item, (int, float)) for item in items):
        raise RefusedError
    if any(item != item for item in items):
        raise RefusedError
    return sorted(items)


def _is_same(left: Any, right: Any) -> bool:
    """`left is right`; refused where Python's caches decide."""
    if not any(value is None or isinstance(value, bool) for value in (left, right)):
        raise RefusedError
    return left is right


def text_of(value: Any = "") -> str:
    """The text of a value; refused where it would show an address, or the order of a set."""
    size_of(value)
    parts = [value]
    while parts:
        part = parts.pop()
        if callable(part) or part is MATH or isinstance(part, set):
            raise RefusedError
        if isinstance(part, (list, tuple)):
            parts.extend(part)
        elif isinstance(part, dict):
            parts.extend((*part.keys(), *part.values()))
    return str(value)


def rounded(value: Any, digits: int | None = None) -> Any:
    if digits is not None and abs(digits) > MAX_SIZE:
        raise RefusedError
    return round(value, digits)


def _attribute(owner: Any, name: str) -> Any:
    if owner is MATH:
        return MATH[name]
    if name not in _METHODS.get(type(owner), ()):
        raise RefusedError
    return getattr(owner, name)
