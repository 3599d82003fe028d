"""Ticks that read as plain numbers, and are never fewer than three."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis

MOST = 7

MULTIPLES = ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
"""Multiples of powers of ten, the most first."""


def set_logarithmic(axes: Axes, low: float, high: float) -> None:
    """The x axis from `low` to `high`, with ticks at round numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def set_linear(axis: XAxis | YAxis, low: float, high: float) -> None:
    """An axis from `low` to `high` with at least three ticks."""
    from matplotlib.ticker import MaxNLocator

    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})
    axis.set_major_locator(MaxNLocator(MOST - 1, min_n_ticks=3))


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, as many of them as are no more than `MOST`."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in MULTIPLES:
        found = [step * 10.0**decade for decade in decades for step in multiples]
        inside = [tick for tick in found if low <= tick <= high]
        if len(inside) <= MOST:
            return inside
    return inside
