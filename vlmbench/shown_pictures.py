"""Other pictures than a sample's own, as a control: a score that stays the same was not seen."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True, slots=True)
class Blank:
    """A grey picture of another one's size, so that it costs the same."""

    own: Picture

    def encoded(self) -> bytes:
        target = io.BytesIO()
        self.decode().save(target, "PNG")
        return target.getvalue()

    def decode(self) -> Image:
        from PIL import Image

        return Image.new("RGB", self.own.decode().size, GREY)


def blanked(sample: Sample) -> Sample:
    """The sample with grey pictures."""
    return replace(sample, images={n: Blank(picture) for n, picture in sample.images.items()})


class Exchange:
    """Gives the samples of each image group the pictures of the next one, the last the first's.

    Groups without pictures take no part.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        """Raises: VlmbenchError where all samples are about the same pictures."""
        by_group: dict[str, Mapping[int, Picture]] = {}
        for sample in samples:
            if sample.images:
                by_group.setdefault(sample.image_group, sample.images)
        if len(by_group) == 1:
            raise VlmbenchError("all samples have the same pictures: there are no others to show")
        groups = list(by_group)
        self._next = {
            group: tuple(by_group[following].values())
            for group, following in zip(groups, groups[1:] + groups[:1], strict=True)
        }

    def __call__(self, sample: Sample) -> Sample:
        """The sample with as many pictures as it had."""
        others = cycle(self._next.get(sample.image_group, ()))
        return replace(sample, images=dict(zip(sample.images, others, strict=False)))
