"""Prompts whose pictures are decoded when the engine gets to them.

deferred = defer(processor, digest, file.decode)
prompt = processor.chat([Message("user", (deferred.slots, "How many?"))])
Request(id="1", ids=prompt.ids, pictures=(deferred.picture,), sampling=sampling)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from PIL import Image

from idefics2.engine.request import Picture
from idefics2.images import ImageSettings, PackedImages, pack
from idefics2.processor import Processor
from idefics2.prompt import Slots


class Deferred(NamedTuple):
    """A picture that is decoded later."""

    slots: Slots
    """Stand for it in a message."""
    picture: Picture
    """Is named in the request."""


def defer(processor: Processor, digest: str, decode: Callable[[], Image.Image]) -> Deferred:
    """A picture that is decoded in a thread, perhaps more than once; equal ones have one digest.

    Without a resampler its size says how many slots it takes: then it is decoded here, too.

    Raises: ValueError as `images.pack`, and what `decode` raises; with a resampler the engine gets
        these.
    """
    config, load = processor.config, partial(_load, decode, processor.images)
    if config.connector == "perceiver":
        grid = [[1, 1]] * processor.images.num_crops  # of any size
    else:
        grid = load().grid_I2.tolist()
    slots = Slots(tuple(config.image_slots(rows, columns) for rows, columns in grid))
    return Deferred(slots, Picture(digest=digest, num_slots=sum(slots.crops), load=load))


def _load(decode: Callable[[], Image.Image], settings: ImageSettings) -> PackedImages:
    return pack([decode()], settings)
