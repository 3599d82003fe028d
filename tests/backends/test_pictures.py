"""One picture, the same pixels for every backend."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlmbench.backends import pictures
from vlmbench.schema import Picture


@dataclass(frozen=True)
class Stored(Picture):
    content: bytes

    def encoded(self) -> bytes:
        return self.content

    def decode(self) -> Image.Image:
        return Image.open(io.BytesIO(self.content))


def stored(image: Image.Image, format: str = "PNG", **options: Any) -> Stored:
    file = io.BytesIO()
    image.save(file, format, **options)
    return Stored(file.getvalue())


def sideways(format: str) -> Stored:
    """A picture whose red top is on the right of the file, and its EXIF says so."""
    values = np.zeros((40, 60, 3), np.uint8)
    values[:, 30:] = (255, 0, 0)
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 8
    return stored(Image.fromarray(values), format, exif=exif)


def received(picture: Stored, max_side: int | None = None) -> Image.Image:
    """The picture as a server that knows nothing but PNG and JPEG sees it."""
    mime, content = pictures.sent(picture, max_side)
    image = Image.open(io.BytesIO(content))
    assert mime == f"image/{str(image.format).lower()}"
    assert image.format in ("PNG", "JPEG")
    return image.convert("RGB")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_sent_upright(format: str) -> None:
    image = received(sideways(format))
    assert image.size == (40, 60)
    red, _, blue = image.getpixel((20, 2))  # type: ignore[misc]
    assert red > 250 and blue < 10
    assert image.getpixel((20, 57))[0] < 10  # type: ignore[index]
    shown = pictures.shown(sideways(format), on_white=True)
    assert np.array_equal(np.asarray(shown), np.asarray(image))


def test_sixteen_bits_of_grey_keep_their_contrast() -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16)[None].repeat(4, 0)
    for format in ("PNG", "TIFF"):
        values = np.asarray(received(stored(Image.fromarray(ramp), format)))
        assert (values[0, 0, 0], values[0, 128, 0], values[0, 255, 0]) == (0, 128, 255)


TRANSPARENT = [
    pytest.param(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), {}, id="RGBA"),
    pytest.param(Image.new("LA", (4, 4), (0, 0)), {}, id="LA"),
    pytest.param(Image.new("P", (4, 4), 0), {"transparency": 0}, id="palette"),
    pytest.param(Image.new("RGB", (4, 4)), {"transparency": (0, 0, 0)}, id="key colour"),
]


@pytest.mark.parametrize(("image", "options"), TRANSPARENT)
def test_transparent_parts_are_sent_as_white(image: Image.Image, options: Any) -> None:
    picture = stored(image, **options)
    assert received(picture).getpixel((1, 1)) == (255, 255, 255)
    assert pictures.shown(picture, on_white=False).getpixel((1, 1)) == (0, 0, 0)


def test_larger_pictures_are_scaled_down_and_others_are_left() -> None:
    picture = stored(Image.new("RGB", (300, 100), "red"))
    assert received(picture, 150).size == (150, 50)
    assert pictures.sent(picture, 300) == ("image/png", picture.content)
    assert pictures.shown(picture, on_white=True, max_side=2).size == (2, 1)


def test_both_local_backends_see_what_servers_are_sent() -> None:
    from idefics2.images import to_rgb

    noise = np.random.default_rng(0).integers(0, 256, (8, 9, 4), dtype=np.uint8)
    colours = Image.fromarray(noise)
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    images = [*(colours.convert(mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")), deep]
    for image in images:
        picture = stored(image)
        ours = to_rgb(picture.decode(), on_white=True)
        for other in (received(picture), pictures.shown(picture, on_white=True)):
            assert np.array_equal(np.asarray(ours), np.asarray(other)), image.mode
