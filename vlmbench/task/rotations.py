"""Circular groups whose rotations are not all there, so that they have no circular value."""

from __future__ import annotations

from collections.abc import Sequence

from vlmbench.schema import Sample


def is_whole(rows: Sequence[Sample], size: int | None) -> bool:
    """True if the rows of one group are all its rotations.

    `size`: how many the data set has; None: not known. Then the rows tell: there is one for each
    option that moves; one such as "both A and B" may keep its place.
    """
    if size is not None:
        return len(rows) == size
    if sorted(row.rotation for row in rows) != list(range(len(rows))):
        return False
    options = rows[0].options
    texts = list(options.values())
    moving = [
        letter
        for letter, text in options.items()
        if texts.count(text) > 1 or any(row.options.get(letter) != text for row in rows)
    ]
    return len(rows) in (len(options), len(moving))
