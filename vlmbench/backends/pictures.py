"""A sample's picture as every backend shows it: upright, 8-bit RGB, at most so large."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from vlmbench import image_files
from vlmbench.schema import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
"""EXIF tag: which side of the stored picture is up; 1 is the first row."""

SENT_AS_STORED = {"PNG": ("1", "L", "P", "RGB"), "JPEG": ("L", "RGB")}
"""Formats, with their modes, that every server decodes to the same pixels as Pillow does."""


def shown(picture: Picture, *, on_white: bool, max_side: int | None = None) -> Image:
    """The decoded picture as `upright_rgb`, scaled down so that no side is above `max_side`.

    Raises: ValueError or OSError where it cannot be decoded.
    """
    return smaller(upright_rgb(picture.decode(), on_white=on_white), max_side)


def upright_rgb(image: Image, *, on_white: bool) -> Image:
    """Turned by its EXIF orientation, as 8-bit RGB; transparent parts on white, or as if opaque.

    Of 16 bits of grey the high byte is taken, where Pillow's conversion clips at 255 and a scan
    turns white. In modes I and F values up to 255 stand, floats up to 1 are scaled.

    Raises: ValueError for grey values beyond 16 bits.
    """
    import PIL.Image
    from PIL import ImageOps

    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if on_white:
            image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def smaller(image: Image, max_side: int | None) -> Image:
    """Scaled down by one factor to `max_side` pixels on its longer side; else as it is."""
    size = smaller_size(image.size, max_side)
    if size == image.size:
        return image
    from PIL.Image import Resampling

    return image.resize(size, Resampling.LANCZOS)


def smaller_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Width and height after `smaller`."""
    longest = max(size)
    if max_side is None or longest <= max_side:
        return size
    width, height = (max(1, round(side * max_side / longest)) for side in size)
    return width, height


def sent(picture: Picture, max_side: int | None = None) -> tuple[str, bytes]:
    """MIME type and file for a server: as stored where all read it alike, else a PNG of `shown`.

    Transparent parts are put on white, as vLLM and transformers' image processors do.

    Raises: ValueError or OSError where it cannot be read.
    """
    encoded = picture.encoded()
    format = _plain_format(encoded, max_side)
    if format:
        return f"image/{format.lower()}", encoded
    file = io.BytesIO()
    shown(picture, on_white=True, max_side=max_side).save(file, "PNG")
    return "image/png", file.getvalue()


def _plain_format(encoded: bytes, max_side: int | None) -> str:
    """The file's format if it can be sent as it is, by its header; else empty."""
    try:
        with image_files.opened(encoded) as image:
            format = image.format or ""
            is_plain = (
                image.mode in SENT_AS_STORED.get(format, ())
                and _is_upright(image, encoded)
                and not image.has_transparency_data
                and max(image.size) <= (max_side or math.inf)
            )
    except Exception:  # whatever a reader of tags raises
        return ""  # to decode it raises the reason
    return format if is_plain else ""


def _is_upright(image: Image, encoded: bytes) -> bool:
    """True unless EXIF or XMP turns it; read only if present: Pillow decodes PNGs whole for it."""
    marks = (b"eXIf", b"xif", b"rientation")
    has_tags = any(mark in encoded for mark in marks)
    return not has_tags or image.getexif().get(ORIENTATION, 1) == 1


def _to_8_bits(image: Image) -> Image:
    import numpy as np
    import PIL.Image

    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 65535):  # not a number fails too
        raise ValueError(
            f"grey values from {low} to {high} in mode {image.mode}; 0 to 65535 can be"
        )
    if image.mode.startswith("I;16") or high > 255:
        values = values / 256
    elif image.mode == "F" and high <= 1:
        values = values * 255
    return PIL.Image.fromarray(values.astype(np.uint8))
