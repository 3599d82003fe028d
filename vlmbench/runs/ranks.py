"""This process's place among those that `accelerate launch` or `torchrun` started."""

from __future__ import annotations

import os
import re

from vlmbench.errors import VlmbenchError


def rank() -> int | None:
    """This process's number; None where it runs alone.

    Raises: VlmbenchError where RANK and WORLD_SIZE do not fit together.
    """
    if "RANK" not in os.environ:
        return None
    number, size = os.environ["RANK"], os.environ.get("WORLD_SIZE", "1")
    are_numbers = re.fullmatch("[0-9]{1,9}", number) and re.fullmatch("[0-9]{1,9}", size)
    if not are_numbers or int(number) >= int(size):
        raise VlmbenchError(
            f"RANK is {number!r} and WORLD_SIZE is {size!r}, where RANK must be a number from 0 "
            "and below WORLD_SIZE; start all processes by a launcher, or unset both"
        )
    return int(number) if int(size) > 1 else None


def world_size() -> int:
    """How many processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))
