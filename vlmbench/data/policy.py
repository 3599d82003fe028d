"""What of a stranger's data is read."""

from __future__ import annotations

from dataclasses import dataclass

from vlmbench.image_files import MAX_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a data set may ask this machine to read."""

    allow_outside: bool = False
    """True: a picture's path may lead out of the data folder."""

    max_pixels: int = MAX_PIXELS
    """A picture with more pixels fails its sample."""


STRICT = Policy()
