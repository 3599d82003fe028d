"""Pixels equal to transformers' processor, and what happens to pictures it does not foresee."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor
from transformers.image_utils import SizeDict, load_image
from transformers.models.idefics2.image_processing_pil_idefics2 import (
    Idefics2ImageProcessorPil,
    get_resize_output_image_size,
)

from idefics2 import images
from idefics2.images import ImageSettings, pack, read_picture, resized_size, to_rgb

BASE = ImageSettings()
SPLIT = ImageSettings(split=True)


@pytest.fixture(scope="module")
def real_images() -> list[Path]:
    beside = Path(__file__).parents[4] / "shared" / "conformance"
    folder = Path(os.environ.get("VLMBENCH_CONFORMANCE", beside)) / "real_images"
    paths = sorted([*folder.glob("*.jpg"), *folder.glob("*.png")])
    if not paths:
        pytest.skip(f"no pictures in {folder}")
    return paths


def noise(*shape: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def unpack(packed: images.PackedImages, size: int = 14) -> Iterator[Tensor]:
    """Crops put together again from their patches: uint8 [3, height, width]."""
    start = 0
    for rows, columns in packed.grid_I2.tolist():
        patches = packed.patches_PK[start : start + rows * columns]
        start += rows * columns
        grid = patches.view(rows, columns, 3, size, size)
        yield grid.permute(2, 0, 3, 1, 4).reshape(3, rows * size, columns * size)
    assert start == len(packed.patches_PK)


def released_values(crop: Tensor) -> Tensor:
    """The released processor's arithmetic: rescaled in float64, then float32."""
    return ((crop.double() * 0.00392156862745098).float() - 0.5) / 0.5


def assert_equal_to_transformers(image: Image.Image, settings: ImageSettings) -> int:
    size = {"longest_edge": settings.longest_side, "shortest_edge": settings.shortest_side}
    if settings.square is not None:
        size = {"height": settings.square, "width": settings.square}
    theirs = Idefics2ImageProcessorPil(
        do_image_splitting=settings.split, image_mean=[0.5] * 3, image_std=[0.5] * 3, size=size
    )([load_image(image)], return_tensors="pt")
    crops = list(unpack(pack([image], settings)))
    assert len(crops) == theirs.pixel_values.shape[1] == settings.num_crops
    for crop, values, mask in zip(
        crops, theirs.pixel_values[0], theirs.pixel_attention_mask[0], strict=True
    ):
        height, width = int(mask[:, 0].sum()) // 14 * 14, int(mask[0].sum()) // 14 * 14
        assert torch.equal(released_values(crop), values[:, :height, :width])
    return len(crops)


@pytest.mark.parametrize("settings", [BASE, SPLIT], ids=["whole", "split"])
def test_pixels_of_real_pictures_equal_transformers(
    real_images: list[Path], settings: ImageSettings
) -> None:
    num_crops = sum(
        assert_equal_to_transformers(read_picture(path), settings) for path in real_images
    )
    assert num_crops == len(real_images) * settings.num_crops


@pytest.mark.parametrize("settings", [BASE, SPLIT], ids=["whole", "split"])
@pytest.mark.parametrize(
    ("width", "height"),
    [
        pytest.param(3, 2, id="a few pixels"),
        pytest.param(377, 379, id="around the shortest side"),
        pytest.param(981, 980, id="around the longest side"),
        pytest.param(979, 1961, id="halves around the longest side"),
        pytest.param(3000, 40, id="flat"),
        pytest.param(40, 3000, id="tall"),
    ],
)
def test_pixels_of_odd_sizes_equal_transformers(
    width: int, height: int, settings: ImageSettings
) -> None:
    assert_equal_to_transformers(noise(height, width, 3), settings)


def test_one_pixel_fills_the_smallest_picture_as_in_transformers() -> None:
    assert_equal_to_transformers(noise(1, 1, 3), BASE)


@pytest.mark.parametrize("split", [False, True])
def test_a_square_setting_stretches_every_crop_as_transformers_does(split: bool) -> None:
    settings = ImageSettings(square=384, split=split)
    assert_equal_to_transformers(noise(200, 300, 3), settings)
    assert pack([noise(200, 300, 3)], settings).grid_I2.eq(384 // 14).all()


def test_resized_sizes_equal_transformers_and_stay_between_378_and_980() -> None:
    """Of 5,000 sizes up to 8,000 pixels a side; only the shape of an array is read."""
    released = SizeDict(longest_edge=980, shortest_edge=378)
    for side in np.exp(np.random.default_rng(0).uniform(0, 9, (5000, 2))).astype(int):
        width, height = map(int, side)
        theirs = get_resize_output_image_size(SimpleNamespace(shape=(3, height, width)), released)
        assert resized_size(width, height, BASE) == theirs[::-1]
        assert all(378 <= side <= 980 for side in theirs)


def test_crops_are_top_left_top_right_bottom_left_bottom_right_and_whole() -> None:
    picture = np.zeros((801, 1001, 3), np.uint8)
    picture[:400, :500], picture[:400, 500:] = 10, 20
    picture[400:, :500], picture[400:, 500:] = 30, 40
    *quarters, whole = unpack(pack([Image.fromarray(picture)], SPLIT))
    assert [set(quarter.flatten().tolist()) for quarter in quarters] == [{10}, {20}, {30}, {40}]
    assert set(whole.flatten().tolist()) > {10, 20, 30, 40}


def test_patches_of_several_pictures_are_packed_in_order_without_padding() -> None:
    pictures = [noise(400, 500, 3, seed=1), noise(900, 385, 3, seed=2)]
    packed = pack(pictures, BASE)
    apart = [pack([picture], BASE) for picture in pictures]
    assert packed.patches_PK.dtype == torch.uint8
    assert torch.equal(packed.patches_PK, torch.cat([one.patches_PK for one in apart]))
    assert packed.grid_I2.tolist() == [[28, 35], [64, 27]]


def test_no_pictures_give_no_patches() -> None:
    packed = pack([], SPLIT)
    assert packed.patches_PK.shape == (0, 588)
    assert packed.grid_I2.shape == (0, 2)


def pictures_of_all_modes() -> Iterator[tuple[str, Image.Image]]:
    rgba = noise(20, 30, 4)
    rgb = noise(20, 30, 3)
    for mode in ("1", "L", "LA", "P", "PA", "RGBA", "RGBa"):
        yield mode, rgba.convert(mode)
    for mode in ("RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"):
        yield mode, rgb.convert(mode)
    for name, transparency in (("index", 3), ("bytes", bytes(range(0, 256, 16)))):
        picture = rgb.quantize(16)
        picture.info["transparency"] = transparency
        yield f"P with transparent {name}", picture
    grey = rgb.convert("L")
    grey.info["transparency"] = grey.getpixel((0, 0))
    yield "L with a transparent value", grey
    rgb.info["transparency"] = rgb.getpixel((0, 0))
    yield "RGB with a transparent colour", rgb


@pytest.mark.parametrize(
    "picture", [pytest.param(picture, id=name) for name, picture in pictures_of_all_modes()]
)
def test_every_8_bit_mode_becomes_rgb_as_in_the_released_processor(picture: Image.Image) -> None:
    with warnings.catch_warnings():
        # Pillow on transparency in bytes, in their conversion; ours must not warn
        warnings.filterwarnings("ignore", message="Palette images with Transparency")
        theirs = np.asarray(load_image(picture.copy()))
    assert np.array_equal(np.asarray(to_rgb(picture)), theirs)


def test_transparent_pixels_keep_their_colour_or_turn_white_on_demand() -> None:
    picture = Image.new("RGBA", (400, 400), (10, 20, 30, 0))
    for on_white, expected in ((False, [10, 20, 30]), (True, [255, 255, 255])):
        packed = pack([picture], replace(BASE, on_white=on_white))
        crop = next(unpack(packed))
        assert crop.eq(torch.tensor(expected).view(3, 1, 1)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_by_the_released_processor(orientation: int) -> None:
    picture = noise(20, 30, 3)
    exif = picture.getexif()
    exif[0x0112] = orientation
    file = BytesIO()
    picture.save(file, "PNG", exif=exif)
    upright = to_rgb(Image.open(file))
    assert upright.size == ((30, 20) if orientation < 5 else (20, 30))
    assert np.array_equal(np.asarray(upright), np.asarray(load_image(Image.open(file))))


RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
HIGH_BYTES = RAMP * 256 + RAMP[::-1]


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(Image.fromarray(HIGH_BYTES), id="I;16"),
        pytest.param(
            Image.frombytes("I;16B", (16, 16), (HIGH_BYTES).astype(">u2").tobytes()), id="I;16B"
        ),
        pytest.param(Image.fromarray((HIGH_BYTES).astype(np.int32)), id="I with 16 bits"),
        pytest.param(Image.fromarray(RAMP.astype(np.int32)), id="I with 8 bits"),
        pytest.param(Image.fromarray(RAMP.astype(np.float32)), id="F to 255"),
        pytest.param(Image.fromarray((RAMP / 255).astype(np.float32)), id="F to 1"),
    ],
)
def test_grey_of_more_than_8_bits_is_scaled_not_clipped(picture: Image.Image) -> None:
    assert np.array_equal(np.asarray(to_rgb(picture))[..., 0], RAMP)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        pytest.param(Image.new("RGB", (0, 5)), "0 x 5 pixels", id="no pixels"),
        pytest.param(Image.fromarray(RAMP.astype(np.int32) - 9), "from -9 to 246", id="negative"),
        pytest.param(Image.fromarray(RAMP.astype(np.int32) * 999), "to 254745", id="32 bits"),
        pytest.param(Image.new("F", (2, 2), float("nan")), "from nan", id="not a number"),
        pytest.param(Image.new("RGB", (1, 900)), "1 x 900 pixels cannot be split", id="a line"),
    ],
)
def test_pictures_that_make_no_sense_are_refused(picture: Image.Image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack([picture], SPLIT)


def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = BytesIO()
    noise(50, 50, 3).save(file, "PNG")
    picture = Image.open(file)
    monkeypatch.setattr(images, "MAX_PIXELS", 2499)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="50 x 50 pixels; 1 to 2499"):
        pack([picture], BASE)


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.bmp"
    header = b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    sides = (20_000).to_bytes(4, "little") * 2
    path.write_bytes(header + sides + b"\x01\x00\x18\x00" + bytes(24))
    with pytest.raises(ValueError, match=r"bomb\.bmp.*decompression bomb"):
        read_picture(path)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_damaged_files_are_refused_by_name(tmp_path: Path, format_: str) -> None:
    path = tmp_path / "damaged"
    file = BytesIO()
    noise(40, 60, 3).save(file, format_)
    content = file.getvalue()
    for length in (0, 10, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"damaged: (not a picture|cannot be decoded)"):
            read_picture(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.png: no such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(ValueError, match="Is a directory"):
        read_picture(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"image_mean": [0.48, 0.46, 0.41]}, "image_mean is .* only .* is implemented"),
        ({"resample": 3}, "resample is 3; only 2"),
        ({"size": {"height": 384, "width": 512}}, "size is .*longest_edge"),
        ({"size": {"longest_edge": 300, "shortest_edge": 378}}, "shortest_side 378 is above"),
        ({"size": {"longest_edge": 980, "shortest_edge": 8}}, "a side of 8 pixels has no room"),
    ],
)
def test_settings_that_are_not_implemented_are_refused(
    content: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ImageSettings.from_json(content)


def test_settings_are_read_as_transformers_writes_them() -> None:
    processor = Idefics2ImageProcessorPil(
        do_image_splitting=True, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    written = json.loads(processor.to_json_string())
    assert ImageSettings.from_json(written) == SPLIT
    written["size"] = {"height": 768, "width": 768}
    assert ImageSettings.from_json(written) == ImageSettings(split=True, square=768)
