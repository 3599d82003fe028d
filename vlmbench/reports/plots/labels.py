"""Names beside the points of a scatter plot, none over another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OFFSETS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Positions of a label relative to its point, in label heights, the best first."""


def place(
    axes: Axes,
    points: Sequence[tuple[float, float, str]],
    bars: Sequence[tuple[float, float, float, float]],
    font_pt: float,
) -> int:
    """Name as many of the points (x, y, name) as there is room for; returns how many.

    Those at the top come first: they are the ones that a reader looks for. A name may stand over
    no point, no other name and none of the bars (x, y, to x, to y). The layout is fixed hereafter.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # untyped in matplotlib
    inside = axes.get_window_extent(renderer)
    reach = 0.45 * font_pt * figure.dpi / 72
    centres = axes.transData.transform([(x, y) for x, y, _ in points])
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in centres]
    ends = axes.transData.transform(
        [end for x, y, to_x, to_y in bars for end in ((x, y), (to_x, to_y))]
    )
    taken += [
        Bbox([low - reach / 2, high + reach / 2])
        for low, high in zip(ends[::2], ends[1::2], strict=True)
    ]
    num_named = 0
    for x, y, name in sorted(points, key=lambda point: -point[1]):
        for right, up in OFFSETS:
            text = axes.annotate(
                name,
                (x, y),
                xytext=(0.75 * font_pt * right, 0.75 * font_pt * up),
                textcoords="offset points",
                ha={1: "left", 0: "center", -1: "right"}[right],
                va={1: "bottom", 0: "center", -1: "top"}[up],
                fontsize=font_pt,
                color="#444444",
            )
            box = text.get_window_extent(renderer)
            is_inside = inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1
            if (
                is_inside
                and box.y0 >= inside.y0
                and not any(box.overlaps(other) for other in taken)
            ):
                taken.append(box)
                num_named += 1
                break
            text.remove()
    return num_named
