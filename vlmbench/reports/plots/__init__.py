"""Figures of runs: accuracy against costs, categories, all tasks, latencies, training."""

from vlmbench.reports.plots.figures import KINDS, figures, write
from vlmbench.reports.plots.series import Drawing, Skipped
from vlmbench.reports.plots.style import FORMATS, SIZES, Size
from vlmbench.reports.plots.training import read_log

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
