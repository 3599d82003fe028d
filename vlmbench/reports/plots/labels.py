"""Names beside the points of a scatter plot, none over another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OFFSETS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Positions of a label relative to its point, in label heights, the best first."""

DISTANCES = (1.0, 2.2, 3.6, 5.0)
"""How far a name that must stand may go, in label heights; a line leads to it if not next to it."""


def place(
    axes: Axes,
    points: Sequence[tuple[float, float, str]],
    others: Sequence[tuple[float, float, str]],
    bars: Sequence[tuple[float, float, float, float]],
    font_pt: float,
) -> int:
    """Name all `points` (x, y, name), and of the `others` as many as there is room for.

    Returns how many are named. Those at the top come first: they are the ones that a reader looks
    for. A name stands over no point, no other name and none of the bars (x, y, to x, to y), unless
    there is no such place for one of `points`. The layout is fixed hereafter.
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
    centres = axes.transData.transform([(x, y) for x, y, _ in (*points, *others)])
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in centres]
    ends = axes.transData.transform(
        [end for x, y, to_x, to_y in bars for end in ((x, y), (to_x, to_y))]
    )
    taken += [
        Bbox([low - reach / 2, high + reach / 2])
        for low, high in zip(ends[::2], ends[1::2], strict=True)
    ]

    def fits(box: Any) -> bool:
        is_inside = inside.x0 <= box.x0 and box.x1 <= inside.x1
        return bool(is_inside and inside.y0 <= box.y0 and box.y1 <= inside.y1)

    def tried(x: float, y: float, name: str, distances: Sequence[float], is_must: bool) -> bool:
        """Writes a name at the first free place, or else, if it must stand, at the least taken."""
        best: tuple[int, float, tuple[int, int]] | None = None
        for distance, offset in product(distances, OFFSETS):
            text = _written(axes, (x, y), name, offset, distance, font_pt)
            box = text.get_window_extent(renderer)
            num_over = sum(box.overlaps(other) for other in taken)
            if fits(box) and not num_over:
                taken.append(box)
                return True
            text.remove()
            if fits(box) and (best is None or num_over < best[0]):
                best = num_over, distance, offset
        if is_must:
            _, distance, offset = best or (0, 1.0, OFFSETS[0])
            _written(axes, (x, y), name, offset, distance, font_pt)
        return is_must

    num_named = 0
    for is_must, named, distances in ((True, points, DISTANCES), (False, others, DISTANCES[:1])):
        for x, y, name in sorted(named, key=lambda point: -point[1]):
            num_named += tried(x, y, name, distances, is_must)
    return num_named


def _written(
    axes: Axes,
    point: tuple[float, float],
    name: str,
    offset: tuple[int, int],
    distance: float,
    font_pt: float,
) -> Any:
    right, up = offset
    line = {"arrowstyle": "-", "color": "#888888", "linewidth": font_pt / 14, "shrinkB": 2}
    return axes.annotate(
        name,
        point,
        xytext=(0.75 * font_pt * right * distance, 0.75 * font_pt * up * distance),
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[right],
        va={1: "bottom", 0: "center", -1: "top"}[up],
        fontsize=font_pt,
        color="#222222",
        arrowprops=line if distance > 1 else None,
    )
