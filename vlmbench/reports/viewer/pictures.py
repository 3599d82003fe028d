"""The report's pictures: each distinct one once, as the data set stores it where browsers can."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlmbench import image_files
from vlmbench.schema import Json, Picture

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}
"""Suffixes of the formats that every browser shows, by Pillow's names of them."""

EXIF_ORIENTATION = 0x0112
"""A browser turns a picture by this tag; models see it as it is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture of the report."""

    digest: str
    """Digest of the encoded bytes, as in a run's log; empty if they could not be read."""

    file: str = ""
    """Path relative to the report; empty: there is no file."""

    width: int = 0
    """Width of the picture in the file, in pixels."""

    height: int = 0
    missing: str = ""
    """The reason why there is no file."""

    def as_json(self) -> dict[str, Json]:
        if not self.file:
            return {"missing": self.missing}
        return {"file": self.file, "width": self.width, "height": self.height}


class Pictures:
    """Puts pictures in a folder under their digests."""

    def __init__(
        self,
        folder: Path,
        *,
        limit: int | None,
        max_side: int | None,
        max_pixels: int = image_files.MAX_PIXELS,
    ) -> None:
        """`limit`: most pictures to write; `max_side`: pixels that larger ones are scaled to."""
        self._folder, self._limit, self._max_side = folder, limit, max_side
        self._max_pixels = max_pixels
        self._known: dict[str, Shown] = {}
        self.num_written = 0

    def add(self, picture: Picture, digest: str = "") -> Shown:
        """The picture in the report. One whose `digest` is known already is not read again."""
        if digest in self._known:
            return self._known[digest]
        try:
            content = picture.encoded()
        except (ValueError, OSError) as error:
            return Shown(digest="", missing=str(error))
        found = hashlib.blake2b(content, digest_size=16).hexdigest()
        if found not in self._known:
            self._known[found] = self._write(content, found)
        return self._known[found]

    def _write(self, content: bytes, digest: str) -> Shown:
        if self._limit is not None and self.num_written >= self._limit:
            return Shown(digest=digest, missing="left out by --limit-pictures")
        try:
            with image_files.opened(content, self._max_pixels) as image:
                suffix = SUFFIXES.get(image.format or "", "")
                size = image.size
                is_large = self._max_side is not None and max(size) > self._max_side
                if is_large or not suffix or image.getexif().get(EXIF_ORIENTATION, 1) != 1:
                    content, suffix, size = self._encoded_anew(image)
        except Exception as error:  # whatever a decoder raises of a stranger's file
            return Shown(digest=digest, missing=f"the picture cannot be decoded: {error}")
        self._folder.mkdir(exist_ok=True)
        (self._folder / f"{digest}.{suffix}").write_bytes(content)
        self.num_written += 1
        file = f"{self._folder.name}/{digest}.{suffix}"
        return Shown(digest=digest, file=file, width=size[0], height=size[1])

    def _encoded_anew(self, image: Image) -> tuple[bytes, str, tuple[int, int]]:
        kind = "JPEG" if image.format == "JPEG" and self._max_side is not None else "PNG"
        plain = image.convert(
            "RGB" if kind == "JPEG" or not image.has_transparency_data else "RGBA"
        )
        if self._max_side is not None:
            plain.thumbnail((self._max_side, self._max_side))
        file = io.BytesIO()
        plain.save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
        return file.getvalue(), SUFFIXES[kind], plain.size
