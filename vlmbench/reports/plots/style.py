"""The style of every figure: sizes, colours, and marks that tell series apart without colour."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmbench.errors import VlmbenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
PNG_DPI = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Size of a figure on its page; everything else follows from the font size."""

    width_in: float
    height_in: float
    """Default height; figures whose contents need another have their own."""

    font_pt: float

    @property
    def line_in(self) -> float:
        """Height of a line of text."""
        return 1.35 * self.font_pt / 72


SIZES = {
    "column": Size(width_in=3.3, height_in=3.0, font_pt=7),  # of a two-column paper
    "slide": Size(width_in=10.0, height_in=7.0, font_pt=16),
}


@dataclass(frozen=True, slots=True)
class Look:
    """The look of a series: each of the four alone tells it from the others."""

    colour: str
    marker: str
    line: Any
    """A line style as matplotlib takes it."""

    hatch: str


LOOKS = (
    Look("#0072B2", "o", "-", ""),
    Look("#D55E00", "s", "--", "////"),
    Look("#009E73", "^", "-.", "...."),
    Look("#CC79A7", "D", ":", "xxxx"),
    Look("#E69F00", "v", (0, (5, 1, 1, 1, 1, 1)), "----"),
    Look("#56B4E9", "P", (0, (8, 3)), "++++"),
    Look("#000000", "X", (0, (1, 3)), "oooo"),
    Look("#F0E442", "*", (0, (3, 1)), "||||"),
)
"""Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart."""

REPORTED = "#555555"


def look(index: int) -> Look:
    """The look of the series with this index; those beyond the last begin anew."""
    return LOOKS[index % len(LOOKS)]


@contextmanager
def applied(size: Size) -> Iterator[None]:
    """Draws with the defaults of matplotlib and ours, whatever the user's matplotlibrc says."""
    from matplotlib import style

    small = 0.9 * size.font_pt
    ours: dict[str, Any] = {
        "font.family": ["DejaVu Sans"],
        "font.size": size.font_pt,
        "axes.titlesize": size.font_pt,
        "axes.labelsize": size.font_pt,
        "xtick.labelsize": small,
        "ytick.labelsize": small,
        "legend.fontsize": small,
        "legend.frameon": False,
        "legend.handlelength": 3.2,
        "axes.titlepad": 0.6 * size.font_pt,
        "axes.labelpad": 0.5 * size.font_pt,
        "xtick.major.pad": 0.5 * size.font_pt,
        "ytick.major.pad": 0.5 * size.font_pt,
        "xtick.major.size": 0.5 * size.font_pt,
        "ytick.major.size": 0.5 * size.font_pt,
        "xtick.major.width": size.font_pt / 12,
        "ytick.major.width": size.font_pt / 12,
        "figure.constrained_layout.h_pad": 0.5 * size.font_pt / 72,
        "figure.constrained_layout.w_pad": 0.5 * size.font_pt / 72,
        "lines.linewidth": size.font_pt / 6,
        "lines.markersize": 0.65 * size.font_pt,
        "hatch.linewidth": size.font_pt / 14,
        "axes.linewidth": size.font_pt / 12,
        "grid.linewidth": size.font_pt / 16,
        "grid.color": "#DDDDDD",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.parse_math": False,  # a model's name may hold dollar signs
        "svg.hashsalt": "vlmbench",  # else ids in the file differ from one time to the next
        "svg.fonttype": "none",  # text stays text: it can be found, read out and edited
    }
    with style.context(["default", ours]):
        yield


def new_figure(size: Size, height_in: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(size.width_in, height_in), layout="constrained")


def caption(figure: Figure, size: Size, text: str) -> None:
    """A note below the figure; the layout leaves room for it."""
    note_pt = 0.8 * size.font_pt
    note = wrapped(text, note_pt, 0.97 * size.width_in)
    figure.supxlabel(note, x=0.01, ha="left", fontsize=note_pt, color="#333333")


def title(axes: Axes, size: Size, text: str) -> None:
    lines = wrapped(text, 1.1 * size.font_pt, 0.7 * size.width_in)  # bold runs a tenth wider
    axes.set_title(lines, loc="left", fontweight="bold")


def legend(figure: Figure, size: Size, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend above the axes, where it covers no data; in two columns if its labels fit."""
    font_pt = 0.9 * size.font_pt
    handle_in = 6.5 * font_pt / 72  # line, gap and margins of an entry
    half_in = size.width_in / 2 - handle_in
    columns = 2 if all(width_in(label, font_pt) < half_in for label in labels) else 1
    whole = [wrapped(label, font_pt, size.width_in - handle_in) for label in labels]
    figure.legend(handles, whole, loc="outside upper left", ncols=columns)


def wrapped(text: str, font_pt: float, to_in: float) -> str:
    """The text in lines no wider than `to_in`; a longer word (a path) is broken anywhere."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_in(longer, font_pt) <= to_in:
            lines[-1] = longer
            continue
        while width_in(word, font_pt) > to_in:
            cut = int(len(word) * to_in / width_in(word, font_pt)) or 1
            lines.append(word[:cut])
            word = word[cut:]
        lines.append(word)
    return "\n".join(lines)


def width_in(text: str, font_pt: float) -> float:
    """The width of a line of text in inches, with 7 % for the hinting of low resolutions."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=font_pt)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.07 * float(width) / 72


def save(figure: Figure, path: Path) -> None:
    """Save a figure; equal figures give equal bytes: the file has no date and no version.

    Raises: VlmbenchError where it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    empty: dict[str, dict[str, Any]] = {
        ".png": {"Software": None},
        ".svg": {"Creator": "vlmbench", "Date": None},
        ".pdf": {"Creator": "vlmbench", "Producer": None, "CreationDate": None},
    }
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise VlmbenchError(f"{path} is a link, a pipe or a folder there; remove it")
    try:
        figure.savefig(path, dpi=PNG_DPI, metadata=empty[path.suffix])
    except OSError as error:
        raise VlmbenchError(f"cannot write {path}: {error.strerror}") from None
