"""What was drawn on each picture, kept apart from what the scenes say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from PIL import Image

from vlmbench.data.mini import scene
from vlmbench.data.mini.drawing import Canvas, Color
from vlmbench.data.mini.scenes import Part


class Shape(NamedTuple):
    color: Color
    shape: str
    x: int
    y: int
    radius: int


class Record:
    """Shapes and texts of every picture that was drawn while the test ran."""

    def __init__(self) -> None:
        self.shapes: dict[int, list[Shape]] = {}
        self.texts: dict[int, list[str]] = {}
        self._images: list[Image.Image] = []

    def keep(self, image: Image.Image) -> int:
        """The picture's key; it stays alive, so that the key is not given again."""
        self._images.append(image)
        return id(image)

    def shapes_of(self, image: Image.Image) -> list[Shape]:
        return self.shapes.get(id(image), [])

    def texts_of(self, image: Image.Image) -> list[str]:
        return self.texts.get(id(image), [])


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    found = Record()
    draw_shape, write = Canvas.shape, Canvas.write

    def shape(
        self: Canvas, kind: str, x: int, y: int, radius: int, color: Color, **named: Any
    ) -> Any:
        shapes = found.shapes.setdefault(found.keep(self.image), [])
        shapes.append(Shape(color, kind, x, y, radius))
        return draw_shape(self, kind, x, y, radius, color, **named)

    def text(self: Canvas, x: int, y: int, text: str, *rest: Any, **named: Any) -> Any:
        found.texts.setdefault(found.keep(self.image), []).append(text)
        return write(self, x, y, text, *rest, **named)

    monkeypatch.setattr(Canvas, "shape", shape)
    monkeypatch.setattr(Canvas, "write", text)
    return found


@pytest.fixture(scope="session")
def rows() -> Callable[[str, Part, int], list[dict[str, Any]]]:
    """A function: task, part and number of scenes -> all their rows; drawn once a session."""
    drawn: dict[tuple[str, Part], list[list[dict[str, Any]]]] = {}

    def draw(task: str, part: Part, num_scenes: int) -> list[dict[str, Any]]:
        scenes = drawn.setdefault((task, part), [])
        scenes += [scene(task, part, number) for number in range(len(scenes), num_scenes)]
        return [row for rows in scenes[:num_scenes] for row in rows]

    return draw
