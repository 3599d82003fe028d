"""Figures of runs: accuracy against costs, categories, all tasks, latencies, training."""

from vlmbench.plots.figures import KINDS, figures, write
from vlmbench.plots.series import Drawing, Skipped
from vlmbench.plots.style import FORMATS, SIZES, Size
from vlmbench.plots.training import read_log

__all__ = [
    "FORMATS",
    "KINDS",
    "SIZES",
    "Drawing",
    "Size",
    "Skipped",
    "figures",
    "read_log",
    "write",
]
