"""The same scenes as samples, without a file between: what a model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from vlmbench.data.mini import scenes as drawn
from vlmbench.data.mini.columns import TASK_OF, pictures
from vlmbench.data.mini.row_file import png
from vlmbench.data.mini.scenes import Part
from vlmbench.data.rows import Row
from vlmbench.schema import Json, Picture, Sample
from vlmbench.task import loading, task

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class DrawnPicture(Picture):
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
    rows = drawn.scene(scenes, part, number)
    return [_sample(scenes, row, f"{part} scene {number} row {i}") for i, row in enumerate(rows)]


def exercises(scenes: str, part: Part, number: int) -> list[tuple[Sample, str]]:
    """The samples of one scene to learn from, each with what stands before its answer."""
    found = drawn.exercises(scenes, part, number)
    return [
        (_sample(scenes, row, f"{part} exercises {number} row {i}"), working)
        for i, (row, working) in enumerate(found)
    ]


def _sample(scenes: str, row: dict[str, Any], where: str) -> Sample:
    images = {column: row.pop(column) for column in pictures(scenes)}
    return _task(scenes).read(DrawnRow(row, images, where=f"vlmbench.mini.{scenes} {where}"))


@cache
def _task(scenes: str) -> task.Task:
    return loading.find(TASK_OF[scenes])
