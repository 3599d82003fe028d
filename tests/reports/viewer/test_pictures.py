"""Pictures of a report: kept as they are where browsers show them, else made so."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from vlmbench.reports.viewer.pictures import EXIF_ORIENTATION, Pictures
from vlmbench.schema import Picture


@dataclass
class Stored(Picture):
    """A picture that counts how often it is read."""

    content: bytes
    num_reads: int = 0

    def encoded(self) -> bytes:
        self.num_reads += 1
        return self.content

    def decode(self) -> Image.Image:
        raise AssertionError("the report needs the bytes alone")


def stored(kind: str, mode: str = "RGB", size: tuple[int, int] = (30, 20), turn: int = 1) -> Stored:
    image = Image.new("RGB", size, "white")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = turn
    file = io.BytesIO()
    image.convert(mode).save(file, kind, **({"exif": exif} if turn > 1 else {}))
    return Stored(file.getvalue())


@pytest.mark.parametrize(
    ("kind", "mode", "suffix"),
    [("JPEG", "RGB", "jpg"), ("JPEG", "CMYK", "jpg"), ("PNG", "P", "png"), ("WEBP", "RGB", "webp")],
)
def test_what_browsers_show_is_kept_byte_for_byte(
    tmp_path: Path, kind: str, mode: str, suffix: str
) -> None:
    picture = stored(kind, mode)
    shown = Pictures(tmp_path / "pictures", limit=None, max_side=None).add(picture)
    assert shown.file == f"pictures/{shown.digest}.{suffix}"
    assert (tmp_path / shown.file).read_bytes() == picture.content
    assert (shown.width, shown.height) == (30, 20)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK"])
def test_other_kinds_become_png(tmp_path: Path, mode: str) -> None:
    shown = Pictures(tmp_path / "pictures", limit=None, max_side=None).add(stored("TIFF", mode))
    with Image.open(tmp_path / shown.file) as image:
        assert (image.format, image.size) == ("PNG", (30, 20))


def test_a_picture_is_shown_as_stored_and_not_turned(tmp_path: Path) -> None:
    shown = Pictures(tmp_path / "pictures", limit=None, max_side=None).add(stored("JPEG", turn=6))
    with Image.open(tmp_path / shown.file) as image:
        assert (image.format, image.size) == ("PNG", (30, 20))
        assert image.getexif().get(EXIF_ORIENTATION, 1) == 1


@pytest.mark.parametrize(("kind", "format"), [("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "PNG")])
def test_large_ones_are_scaled_where_asked(tmp_path: Path, kind: str, format: str) -> None:
    pictures = Pictures(tmp_path / "pictures", limit=None, max_side=64)
    shown = pictures.add(stored(kind, size=(300, 150)))
    with Image.open(tmp_path / shown.file) as image:
        assert (image.format, image.size) == (format, (64, 32))
    small = pictures.add(small_one := stored(kind, size=(64, 10)))
    assert (tmp_path / small.file).read_bytes() == small_one.content


def test_a_known_picture_is_not_read_again(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "pictures", limit=None, max_side=None)
    picture = stored("PNG")
    digest = pictures.add(picture).digest
    assert pictures.add(picture, digest).digest == digest
    assert picture.num_reads == 1
    assert pictures.add(stored("PNG")).digest == digest
    assert pictures.num_written == 1


def test_the_limit_holds_and_what_it_leaves_out_says_so(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "pictures", limit=1, max_side=None)
    assert pictures.add(stored("PNG")).file
    assert pictures.add(stored("JPEG")).missing == "left out by --limit-pictures"
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_a_picture_that_is_none_says_why(tmp_path: Path) -> None:
    shown = Pictures(tmp_path / "pictures", limit=None, max_side=None).add(Stored(b"no picture"))
    assert not shown.file
    assert "cannot be decoded" in shown.missing
