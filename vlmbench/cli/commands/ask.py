"""Ask an Idefics2 checkpoint about pictures, with the arguments of `python -m idefics2 ask`."""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    from vlmbench.backends import idefics2

    return idefics2.ask(arguments)
