"""A submission as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A submission as bytes."""

    main: bytes
    """The file that the server takes."""

    num_entries: int
    suffix: str = ".json"
    scores: bytes | None = None
    """MathVista's second file; None: the server takes one."""

    notes: Sequence[str] = ()
    """What the user should know of single entries, a line each."""
