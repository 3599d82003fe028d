"""Typesetting of a document: type, column width, and the layout of keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from vlmbench.data.mini.drawing import Box, Color, ink, text_width

KeyStyle = Literal["lower", "title", "upper"]
Side = Literal["left", "right"]
HeadingStyle = Literal["plain", "underlined", "centered", "bar"]

KEY_STYLES: tuple[KeyStyle, ...] = ("lower", "title", "upper")
HEADING_STYLES: tuple[HeadingStyle, ...] = ("plain", "underlined", "centered", "bar")
SEPARATORS = (": ", " ", " - ", " = ", ". ")

GAP = 5
"""Pixels at least between a key and a value that stands at the right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a document."""

    left: str
    right: str = ""
    """Text at the column's right edge."""

    is_heading: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Typesetting that all blocks of a page share."""

    face: str
    size: int
    """Pixels, as those below."""

    width: int
    """Width of the column."""

    room: int
    """Width of the column without its margins."""

    keys: KeyStyle
    side: Side
    """Side at which the values stand."""

    headings: HeadingStyle
    separator: str
    """Joins key and value."""

    is_capital: bool
    """True: names and words start with a capital."""

    color: Color

    @property
    def pitch(self) -> int:
        """Distance from one line to the next."""
        box = line_ink(self.face, self.size)
        return box.bottom - box.top + 3

    def width_of(self, text: str) -> int:
        return text_width(text, self.face, self.size)

    def heading(self, text: str) -> Line | None:
        """The heading's line; None: it does not fit into the column."""
        return self._fitting(Line(left=self.key(text), is_heading=True))

    def pair(self, key: str, value: str) -> Line | None:
        """The line of a key and its value; None: it does not fit into the column."""
        key = self.key(key)
        if self.side == "right":
            return self._fitting(Line(left=(key + self.separator).rstrip(" ="), right=value))
        return self._fitting(Line(left=f"{key}{self.separator}{value}"))

    def text(self, text: str) -> Line | None:
        """A line as it is; None: it does not fit into the column."""
        return self._fitting(Line(left=text))

    def value(self, text: str) -> str:
        """A name or word as this page writes it."""
        return text.capitalize() if self.is_capital else text

    def key(self, text: str) -> str:
        """A field's name as this page writes it."""
        return {"lower": text.lower(), "title": text.capitalize(), "upper": text.upper()}[self.keys]

    def _fitting(self, line: Line) -> Line | None:
        width = self.width_of(line.left)
        if line.right:
            width += GAP + self.width_of(line.right)
        return line if width <= self.room else None


@cache
def line_ink(face: str, size: int) -> Box:
    """Vertical extent of the letters of a line at (0, 0)."""
    return ink("Agjy", face, size)
