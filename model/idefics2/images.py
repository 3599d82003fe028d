"""Pictures to patches: convert to RGB, split, resize every crop, cut; all in uint8.

Axes: I crops, P patches of all crops, K pixel values of a patch (channel, row, column).

Equal to the last bit to the released processor (transformers' Idefics2Processor with Pillow), but
for grey pictures of more than 8 bits: see `to_rgb`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

MAX_PIXELS = 178_956_970  # where Pillow itself refuses a file as a decompression bomb
NUM_CHANNELS = 3
NUM_CROPS_OF_SPLIT = 5  # four quarters and the whole

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
"""What is read. Of others, Pillow would give EPS to a PostScript interpreter."""

RELEASED_CONSTANTS = {
    "do_convert_rgb": True,
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": int(Image.Resampling.BILINEAR),
}
"""Values of all released `preprocessor_config.json` that this package relies on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """How a picture is cut and resized; the defaults are those of the released base model."""

    split: bool = False
    """Four quarters and the whole instead of the whole alone: five times the visual tokens."""
    longest_side: int = 980
    """Pixels; a longer side is reduced to this, and the other by the same factor."""
    shortest_side: int = 378
    """Pixels; a shorter side is then enlarged to this, and the other is not."""
    square: int | None = None
    """Pixels; every crop is stretched to it (the paper's Finding 5). None: native aspect ratio."""
    patch_size: int = 14
    """Side of a patch in pixels."""
    on_white: bool = False
    """Put transparent pictures on white, as in training and in the bare image processor.

    False: drop the alpha channel, as Idefics2Processor does before that code can see it.
    """

    def __post_init__(self) -> None:
        shortest = self.shortest_side if self.square is None else self.square
        if not 1 <= self.patch_size <= shortest:
            raise ValueError(f"a side of {shortest} pixels has no room for {self.patch_size}")
        if self.shortest_side > self.longest_side:
            raise ValueError(
                f"shortest_side {self.shortest_side} is above longest_side {self.longest_side}"
            )

    @property
    def num_crops(self) -> int:
        """Number of crops per picture."""
        return NUM_CROPS_OF_SPLIT if self.split else 1

    @classmethod
    def from_json(cls, settings: Mapping[str, Any], *, patch_size: int = 14) -> ImageSettings:
        """Settings from the content of a `preprocessor_config.json`.

        Raises: ValueError where it asks for other arithmetic than the released checkpoints'.
        """
        for key, value in RELEASED_CONSTANTS.items():
            if settings.get(key, value) != value:
                raise ValueError(f"{key} is {settings[key]}; only {value} is implemented")
        split = settings.get("do_image_splitting", False)
        size = settings.get("size", {"longest_edge": 980, "shortest_edge": 378})
        match size:
            case {"longest_edge": int(longest), "shortest_edge": int(shortest)}:
                return cls(
                    split=split,
                    longest_side=longest,
                    shortest_side=shortest,
                    patch_size=patch_size,
                )
            case {"height": int(height), "width": int(width)} if height == width:
                return cls(split=split, square=height, patch_size=patch_size)
        raise ValueError(
            f"size is {size}; it must name longest_edge and shortest_edge, or a square"
        )


class PackedImages(NamedTuple):
    """The patches of some pictures, crop after crop, row after row."""

    patches_PK: Tensor
    """uint8."""
    grid_I2: Tensor
    """Rows and columns of patches of each crop, int64; their products sum to P."""


def read_picture(path: str | Path) -> Image.Image:
    """Open and decode a picture file.

    Raises: ValueError naming the file, if there is none or it cannot be decoded.
    """
    try:
        with warnings.catch_warnings():
            # Of pictures above half of MAX_PIXELS, and of damage that an error follows
            warnings.simplefilter("ignore")
            image = Image.open(BytesIO(Path(path).read_bytes()), formats=FORMATS)
            image.load()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a picture, or in no format that Pillow reads") from None
    except Exception as error:  # decoders raise whatever a damaged file leads to
        raise ValueError(f"{path}: cannot be decoded: {error}") from error
    return image


def pack(images: Iterable[Image.Image], settings: ImageSettings) -> PackedImages:
    """Cut pictures into patches, `settings.num_crops` crops each.

    Pixels right of the last whole patch, or below it, are dropped, as in transformers since 4.46.
    The release (4.40) kept a partial patch where the batch was padded beyond it, so that a
    picture's patches depended on its neighbours in the batch.

    Raises: ValueError for a picture of no pixels, of too many, or too small to split.
    """
    patches = []
    grid = []
    for image in images:
        for crop in _crops(to_rgb(image, on_white=settings.on_white), settings):
            resized = crop.resize(
                resized_size(*crop.size, settings), resample=Image.Resampling.BILINEAR
            )
            crop_patches = _patches(resized, settings.patch_size)
            grid.append(crop_patches.shape[:2])
            patches.append(torch.from_numpy(crop_patches).flatten(0, 1).flatten(1))
    num_values = NUM_CHANNELS * settings.patch_size**2
    patches_PK = torch.cat([torch.empty((0, num_values), dtype=torch.uint8), *patches])
    grid_I2 = torch.tensor(grid, dtype=torch.int64).reshape(-1, 2)
    return PackedImages(patches_PK, grid_I2)


def to_rgb(image: Image.Image, *, on_white: bool = False) -> Image.Image:
    """Any picture as 8-bit RGB, upright by its EXIF orientation, as `load_image` in transformers.

    One departure: of 16-bit grey the high byte is taken, where Pillow's conversion clips at 255 and
    a scan turns white. In modes I and F, values up to 255 stand, floats up to 1 are scaled.

    Raises: ValueError for a picture of no pixels, of too many, or with grey values beyond 16 bits.
    """
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"a picture of {width} x {height} pixels; 1 to {MAX_PIXELS} are allowed")
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if on_white:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def resized_size(width: int, height: int, settings: ImageSettings) -> tuple[int, int]:
    """Width and height to which a crop of this size is resized."""
    if settings.square is not None:
        return settings.square, settings.square
    aspect_ratio = width / height
    if width >= height and width > settings.longest_side:
        width = settings.longest_side
        height = int(width / aspect_ratio)
    elif height > width and height > settings.longest_side:
        height = settings.longest_side
        width = int(height * aspect_ratio)
    return max(width, settings.shortest_side), max(height, settings.shortest_side)


def _crops(image: Image.Image, settings: ImageSettings) -> list[Image.Image]:
    """The quarters, left before right and top before bottom, then the whole; or the whole alone."""
    if not settings.split:
        return [image]
    width, height = image.size
    if min(width, height) < 2:
        raise ValueError(f"a picture of {width} x {height} pixels cannot be split in four")
    x, y = width // 2, height // 2
    boxes = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    return [*(image.crop(box) for box in boxes), image]


def _patches(image: Image.Image, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Patches [grid row, grid column, channel, row, column] of a resized crop."""
    rows, columns = image.height // size, image.width // size
    pixels = np.asarray(image)[: rows * size, : columns * size]
    patches = pixels.reshape(rows, size, columns, size, NUM_CHANNELS)
    return np.ascontiguousarray(patches.transpose(0, 2, 4, 1, 3))


def _to_8_bits(image: Image.Image) -> Image.Image:
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
    return Image.fromarray(values.astype(np.uint8))
