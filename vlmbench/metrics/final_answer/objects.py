"""JSON objects in which a response gives its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_KEYS = (
    ("finalanswer", "最终答案", "最終答案"),
    ("answer", "correctanswer", "答案", "正确答案", "回答", "answertext", "finalchoice"),
    ("answerchoice", "answerletter", "choice", "option", "letter", "selectedoption", "selected"),
    ("correctoption", "correctchoice", "selectedanswer", "answeroption", "selectedchoice"),
    ("finalvalue", "final", "conclusion", "result", "prediction", "value", "response", "output"),
)
"""Keys that mean the answer, the surest first; compared in lower case, without marks."""

_FENCE = re.compile(r"```[ \t]*(?:json|JSON|python|text)?[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_LOOSE = re.compile(
    r"[{,]\s*[\"']?(?P<key>(?:final[ _]?|correct[ _]?)?answer|答案|最终答案)[\"']?\s*:\s*"
    r"(?:\"(?P<double>(?:[^\"\\\n]|\\.){0,2000})\"?|'(?P<single>[^'\n]{0,2000})'?"
    r"|(?P<word>[^\s\"'{}\[\],][^\"'{}\[\],\n]{0,200}))",
    re.IGNORECASE,
)
_MAX_OBJECTS = 20
_MAX_DEPTH = 5
_MAX_OBJECT = 20_000
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, strict=False)


def answer(text: str) -> str | None:
    """The answer in the last object that has one, or in a whole response that is one; else None.

    A number stays as it is spelt, and a list is written as Python does.
    """
    if "{" not in text:
        return None
    whole = text.strip()
    fences = _FENCE.findall(whole) if "```" in whole else []
    if len(fences) == 1 and whole.startswith("```"):
        whole = fences[0].strip()
    only = _decoded(whole)
    if only is not None and len(whole) == only[1]:
        return _answer_of(only[0], allows_any=True)
    places = [match.start() for match in re.finditer(r"\{", text)][-_MAX_OBJECTS:]
    for place in reversed(places):
        found = _decoded(text[place : place + _MAX_OBJECT])
        value = _answer_of(found[0], allows_any=False) if found else None
        if value is not None:
            return value
    loose = list(_LOOSE.finditer(text[-_MAX_OBJECT:]))
    if loose:
        match = loose[-1]
        return (match["double"] or match["single"] or match["word"] or "").strip() or None
    return None


def _decoded(text: str) -> tuple[Mapping[str, object], int] | None:
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return (value, end) if isinstance(value, dict) else None


def _answer_of(found: Mapping[str, object], *, allows_any: bool, depth: int = 0) -> str | None:
    """The answer of an object; `allows_any`: a lone key means it, whatever it is called."""
    if depth > _MAX_DEPTH:
        return None
    keys = {re.sub(r"[^\w]|_", "", key).lower(): key for key in found}
    for names in _KEYS:
        for name in names:
            if name in keys:
                return _written(found[keys[name]], depth)
    if len(found) == 1 and (allows_any or depth):
        return _written(next(iter(found.values())), depth)
    nested = [value for value in found.values() if isinstance(value, dict)]
    if len(nested) == 1:
        return _answer_of(nested[0], allows_any=False, depth=depth + 1)
    return None


def _written(value: object, depth: int) -> str | None:
    match value:
        case dict():
            return _answer_of(value, allows_any=True, depth=depth + 1)
        case str():
            return value.strip() or None
        case bool():
            return str(value)
        case [one]:
            return _written(one, depth + 1) if depth < _MAX_DEPTH else None
        case list() if all(isinstance(item, str) for item in value) and value:
            return f"[{', '.join(value)}]"
    return None
