"""Picture files that strangers made."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlmbench import image_files
from vlmbench.schema import Picture

WRITTEN = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
REFUSED = ("ICO", "PCX", "TGA", "DDS", "EPS", "SGI", "ICNS", "XBM", "MSP")


def picture(format: str, mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> bytes:
    file = io.BytesIO()
    mode = {"XBM": "1", "MSP": "1"}.get(format, mode)
    Image.new(mode, size, 1).save(file, format)
    return file.getvalue()


class Stored(Picture):
    def __init__(self, content: bytes) -> None:
        self.content = content

    def encoded(self) -> bytes:
        return self.content

    def decode(self) -> Any:
        return image_files.decoded(self.content)


def refused(content: bytes) -> str:
    """Why the picture is refused; any other exception fails the test."""
    assert Stored(content).size == (0, 0)
    with pytest.raises(ValueError) as caught:
        image_files.decoded(content)
    return str(caught.value)


@pytest.mark.parametrize("format", WRITTEN)
def test_the_formats_of_data_sets_are_read(format: str) -> None:
    content = picture(format)
    assert Stored(content).size == (24, 16) and image_files.decoded(content).size == (24, 16)


@pytest.mark.parametrize("format", REFUSED)
def test_other_formats_are_refused_and_start_nothing(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program is started"))
    size = (16, 16) if format in ("ICO", "ICNS") else (24, 16)
    assert "no picture of a format that is read (PNG, JPEG" in refused(picture(format, size=size))


def test_a_metafile_without_a_size_is_refused() -> None:
    """Pillow's reader of EMF divides by zero."""
    head = struct.pack("<IIiiiiiiii", 1, 100, 0, 0, 0, 0, 0, 0, 0, 0) + b" EMF"
    assert "no picture of a format" in refused(head.ljust(100, b"\0"))


def test_a_header_that_asks_for_gigabytes_is_refused_before_memory_is_taken() -> None:
    """PNGs of 100 kB that have 0.1 to 16 gigapixels, by their headers."""
    content = bytearray(picture("PNG"))
    for side in (8_001, 20_000, 2**31 - 1):
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        assert Stored(bytes(content)).size == (0, 0)
        with pytest.raises(ValueError, match=r"pixels; 1 to 64,000,000 are allowed"):
            image_files.opened(bytes(content))


def test_the_limit_of_pixels_can_be_raised_and_lowered() -> None:
    content = picture("PNG", "1", (14_000, 14_000))  # above Pillow's own limit
    with pytest.raises(ValueError, match=r"14,000 x 14,000 pixels; .*--max-pixels"):
        image_files.decoded(content)
    assert image_files.opened(content, 2 * 10**8).size == (14_000, 14_000)
    with pytest.raises(ValueError, match="1 to 100 are"):
        image_files.opened(picture("PNG"), 100)


@settings(max_examples=150, deadline=None)
@given(format=st.sampled_from(WRITTEN), seed=st.integers(0, 2**32), cut=st.floats(0, 1))
def test_whatever_is_damaged_is_a_value_error(format: str, seed: int, cut: float) -> None:
    content = bytearray(picture(format, random.Random(seed).choice(("L", "RGB"))))
    rng = random.Random(seed)
    for _ in range(rng.randrange(6)):
        content[rng.randrange(len(content))] = rng.choice(
            (0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256))
        )
    if rng.random() < 0.3:
        del content[int(cut * len(content)) :]
    width, height = Stored(bytes(content)).size
    assert 0 <= width * height <= image_files.MAX_PIXELS
    if width * height > 10**6:
        return
    with suppress(ValueError):
        image_files.decoded(bytes(content))
