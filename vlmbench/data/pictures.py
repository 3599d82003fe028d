"""Pictures in memory, and pictures shown instead of a sample's own, as a control."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, Literal, get_args

from vlmbench.errors import VlmbenchError
from vlmbench.schema import Picture, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

Pictures = Literal["own", "blank", "other"]

PICTURES: tuple[Pictures, ...] = get_args(Pictures)

GREY = (128, 128, 128)


@dataclass(frozen=True)
class MemoryPicture(Picture):
    """A picture in memory; several samples may share it."""

    image: Image

    def encoded(self) -> bytes:
        return png(self.image)

    def decode(self) -> Image:
        return self.image


@dataclass(frozen=True)
class Blank(Picture):
    """A grey picture of another one's size, for as many visual tokens."""

    own: Picture

    def encoded(self) -> bytes:
        return png(self.decode())

    def decode(self) -> Image:
        from PIL import Image

        size = self.own.size
        if 0 in size:
            self.own.decode()  # raises the reason
        return Image.new("RGB", size, GREY)


def blanked(sample: Sample) -> Sample:
    """The sample with grey pictures."""
    return replace(sample, images={n: Blank(picture) for n, picture in sample.images.items()})


class Exchange:
    """Gives the samples of each image group the pictures of the next one that has others.

    The first follows the last; groups without pictures take no part.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        """All samples of a split, in its order."""
        self._pictures: dict[str, tuple[Picture, ...]] = {}
        for sample in samples:
            if sample.images:
                self._pictures.setdefault(sample.image_group, tuple(sample.images.values()))
        self._groups = list(self._pictures)
        self._places = {group: place for place, group in enumerate(self._groups)}

    def __call__(self, sample: Sample) -> Sample:
        """The sample with as many pictures as it had.

        Raises: VlmbenchError where all samples are about the same pictures; ValueError where its
        own cannot be read.
        """
        if not sample.images:
            return sample
        others = cycle(self._others(sample.image_group))
        return replace(sample, images=dict(zip(sample.images, others, strict=False)))

    def _others(self, group: str) -> tuple[Picture, ...]:
        own = [picture.encoded() for picture in self._pictures[group]]
        start = self._places[group] + 1
        for following in self._groups[start:] + self._groups[: start - 1]:
            others = self._pictures[following]
            with suppress(OSError, ValueError):  # one that cannot be read fails its own sample only
                if [picture.encoded() for picture in others] != own:
                    return others
        raise VlmbenchError("all samples have the same pictures: there are no others to show")


def png(image: Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
