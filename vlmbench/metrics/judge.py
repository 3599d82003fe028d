"""What a task says of a language model that reads answers out of responses: its prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vlmbench.schema import Message, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePrompt:
    """How a task asks a language model, the judge, for the answer in a response."""

    known: Callable[[Sample, str], str | None]
    """The answer in a response that needs no judge; None: ask."""

    messages: Callable[[Sample, str], tuple[Message, ...]]
    """What the judge is asked about a response; it is shown no picture."""

    read: Callable[[str], str]
    """The answer in the judge's reply; empty: there is none."""

    only_unparsed: bool = False
    """True: it is asked only where the official rules find no answer."""

    max_new_tokens: int = 256
    """Longest reply; one that is cut off there counts as a failure."""
