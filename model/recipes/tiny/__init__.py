"""Recipe of `idefics2:tiny`: a small Idefics2 trained from random weights to see and to read."""

from __future__ import annotations

from .recipe import recipe

__all__ = ["recipe"]
