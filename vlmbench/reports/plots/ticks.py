"""Ticks of logarithmic axes that read as plain numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 7


def set_logarithmic(axes: Axes, low: float, high: float) -> None:
    """The x axis from `low` to `high`, with ticks at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def ticks(low: float, high: float) -> list[float]:
    """Ticks at 1, 2 and 5 times powers of ten, or at fewer if these are more than `MOST`."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**decade for decade in decades for step in multiples]
        inside = [tick for tick in found if low <= tick <= high]
        if len(inside) <= MOST:
            return inside
    return inside
