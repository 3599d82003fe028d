"""Picture files of strangers: few formats, bounded sizes, and every fault a ValueError."""

from __future__ import annotations

import io
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
"""What is read. Pillow would also start a PostScript interpreter, and guess at old formats."""

MAX_PIXELS = 64_000_000
"""Pixels of a picture: decoding and converting takes about 17 bytes each, so 1.1 GB."""


def opened(content: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture with its header read, and not decoded.

    Raises: ValueError where it is none, in another format, or too large.
    """
    pillow = _pillow()
    try:
        image: Image = pillow.open(io.BytesIO(content), formats=FORMATS)
        width, height = image.size
    except pillow.UnidentifiedImageError:
        raise ValueError(
            f"it is damaged, or no picture of a format that is read ({_NAMES})"
        ) from None
    except Exception as error:  # readers of headers raise whatever a damaged one leads to
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not 0 < width * height <= max_pixels:
        raise ValueError(
            f"it has {width:,} x {height:,} pixels; 1 to {max_pixels:,} are allowed (--max-pixels)"
        )
    return image


def decoded(content: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture with its pixels. Raises: ValueError as `opened`, or where it is damaged."""
    image = opened(content, max_pixels)
    try:
        image.load()
    except Exception as error:  # decoders too
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return image


_NAMES = ", ".join(FORMATS)


@cache
def _pillow() -> ModuleType:
    """Pillow without its own limit of pixels: `opened` has one, which can be raised."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    return Image
