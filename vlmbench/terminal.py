"""What reaches a terminal: text of strangers cannot move its cursor, recolour it or reverse it."""

from __future__ import annotations

import re
from typing import Any, TextIO

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # all controls but the tab and the line break
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of the direction of writing
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"  # other breaks, and unseen text
)


def clean(text: str) -> str:
    """The text with escapes for what a terminal would obey: in JSON, the same characters."""
    return UNSAFE.sub(_escaped, text)


def one_line(text: str) -> str:
    """`clean` text without line breaks, as a message is."""
    return clean(" ".join(text.splitlines()))


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


class Cleaned:
    """A text stream through which only clean text passes.

    A write that begins with a carriage return keeps it at the beginning of a line, and after a
    write of that kind: so progress bars work.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._may_return = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        returns = self._may_return and text.startswith("\r")
        if text:
            self._may_return = returns or text.endswith("\n")
        cleaned = clean(text[1:] if returns else text)
        self.stream.write(f"\r{cleaned}" if returns else cleaned)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)


def raw(stream: TextIO) -> TextIO:
    """The stream behind a `Cleaned` one, for our own control sequences."""
    return raw(stream.stream) if isinstance(stream, Cleaned) else stream
