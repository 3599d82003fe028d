"""The same scenes as samples, without a file between: what a model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from vlmbench import task
from vlmbench.mini.columns import TASK_OF, pictures
from vlmbench.mini.row_file import png
from vlmbench.mini.scenes import Part, scene
from vlmbench.rows import Row
from vlmbench.schema import Json, Picture, Sample

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """A picture in memory; samples of one scene share it."""

    image: Image

    def encoded(self) -> bytes:
        return png(self.image)

    def decode(self) -> Image:
        return self.image


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
        return None if image is None else DrawnPicture(image)


def samples(scenes: str, part: Part, number: int) -> list[Sample]:
    """The samples of one scene, as the task's own file reads its rows.

    `scenes`: a task's name, or "easy_vqa". Prompts for them are made as for any other sample:
    `prompts.request(sample, form=task.form, style=..., max_new_tokens=None).messages`, and
    `prompts.gold(sample, task.form)` is the answer to be learnt.
    """
    read = _task(scenes).read
    columns = pictures(scenes)
    found = []
    for i, row in enumerate(scene(scenes, part, number)):
        images = {column: row.pop(column) for column in columns}
        where = f"vlmbench.mini.{scenes} {part} scene {number} row {i}"
        found.append(read(DrawnRow(row, images, where=where)))
    return found


@cache
def _task(scenes: str) -> task.Task:
    return task.find(TASK_OF[scenes])
