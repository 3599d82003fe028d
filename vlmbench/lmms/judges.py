"""Finds lmms-eval tasks whose scorer asks a language model, without running it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import CodeType
from typing import Any

ASKS = re.compile(
    r"openai|judge|gpt|azure|api_key|api_url|anthropic|gemini|get_chat_response", re.I
)
"""Names by which lmms-eval's scorers reach a model, in tasks and llm_judge/."""


def judge_of(functions: Iterable[Callable[..., Any]]) -> str | None:
    """The name by which one of these functions reaches a model; None: none does.

    Calls are followed to any depth through functions and methods of files that hold tasks, branches
    that never run included.
    """
    seen: set[CodeType] = set()
    waiting = list(functions)
    while waiting:
        function = waiting.pop()
        while isinstance(function, partial):
            function = function.func
        code = getattr(function, "__code__", None)
        if code is None or code in seen:
            continue
        seen.add(code)
        names = set(_names(code))
        if suspects := sorted(filter(ASKS.search, names)):
            return suspects[0]
        waiting += _called(function, names)
    return None


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _called(function: Callable[..., Any], names: set[str]) -> list[Callable[..., Any]]:
    """The functions of these names: the file's, and methods of its objects and of the method's."""
    file = getattr(function, "__globals__", {})
    owners = [file[name] for name in names & file.keys()]
    owners += [function.__self__] if inspect.ismethod(function) else []
    found: list[Any] = [owner for owner in owners if inspect.isfunction(owner)]
    found += [getattr(owner, name, None) for owner in owners for name in names]
    here = file.get("__name__")
    return [one for one in found if inspect.isroutine(one) and _is_of_tasks(one, here)]


def _is_of_tasks(function: Any, here: str | None) -> bool:
    """True for code of tasks; False for the harness, the standard library and other packages."""
    module = getattr(function, "__module__", None) or ""
    return module == here or module.startswith("lmms_eval.tasks.")
