"""Scenes as rows with their pictures in memory: a task reads them as it reads rows of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlmbench.data.mini.columns import pictures
from vlmbench.data.mini.scenes import Part, scene
from vlmbench.data.pictures import MemoryPicture
from vlmbench.data.rows import Row
from vlmbench.schema import Json, Picture

if TYPE_CHECKING:
    from PIL.Image import Image


class DrawnRow(Row):
    """A row whose pictures are in memory."""

    __slots__ = ("_images",)

    def __init__(
        self, values: Mapping[str, Json], images: Mapping[str, Image | None], *, where: str
    ) -> None:
        super().__init__(values, where=where)
        self._images = images

    def picture(self, column: str, *, is_optional: bool = True) -> Picture | None:
        image = self._images.get(column)
        return None if image is None else MemoryPicture(image)


def drawn_rows(scenes: str, part: Part, number: int) -> list[Row]:
    """Rows of one scene, for the `read` of the task `columns.TASK_OF[scenes]`.

    `scenes`: a task's name, or "easy_vqa".
    """
    rows = scene(scenes, part, number)
    return [as_row(scenes, row, f"{part} scene {number} row {i}") for i, row in enumerate(rows)]


def as_row(scenes: str, values: Mapping[str, Any], where: str) -> Row:
    """A drawn row, with PIL images among its values; `where` names it in errors."""
    columns = pictures(scenes)
    texts = {column: value for column, value in values.items() if column not in columns}
    images = {column: values[column] for column in columns}
    return DrawnRow(texts, images, where=f"vlmbench.mini.{scenes} {where}")
