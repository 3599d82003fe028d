"""`idefics2:tiny`: a small Idefics2 that learns to see and to read from nothing."""

from __future__ import annotations

from .recipe import recipe

__all__ = ["recipe"]
