"""Ask an Idefics2 checkpoint about pictures, with the arguments of `python -m idefics2 ask`."""

from __future__ import annotations

from collections.abc import Sequence

PREFIX = "idefics2:"
"""What the model's name begins with in the other commands."""


def run(arguments: Sequence[str]) -> int:
    from vlmbench.backends import idefics2

    before = ["", *arguments]
    return idefics2.ask(
        [
            word.removeprefix(PREFIX) if flag == "--model" else word
            for flag, word in zip(before, arguments, strict=False)
        ]
    )
