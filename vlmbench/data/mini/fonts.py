"""The typefaces that matplotlib ships (DejaVu, STIX, Computer Modern), divided in two parts."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from PIL import ImageFont

from vlmbench.data.mini.scenes import Part
from vlmbench.errors import VlmbenchError

_TRAIN = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBolIta",
    "cmr10",
    "cmtt10",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono-Oblique",
)
_TEST = (
    "DejaVuSans-Oblique",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif-Bold",
    "STIXGeneralBol",
    "cmss10",
)
FACES: dict[Part, tuple[str, ...]] = {"train": _TRAIN, "test": _TEST, "practice": _TRAIN}


@cache
def font(face: str, size: int) -> ImageFont.FreeTypeFont:
    """A face at a size in pixels.

    Layout is the basic one: it is in every build of Pillow, so that pictures are the same.
    """
    return ImageFont.truetype(
        str(_folder() / f"{face}.ttf"), size, layout_engine=ImageFont.Layout.BASIC
    )


@cache
def _folder() -> Path:
    spec = importlib.util.find_spec("matplotlib")  # its code is not run: only its files are read
    if spec is None or not spec.submodule_search_locations:
        raise VlmbenchError("the mini splits draw with matplotlib's fonts: pip install matplotlib")
    return Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
