"""Prediction files: ours, lmms-eval's, VLMEvalKit's and the benchmarks' own submission formats."""

from vlmbench.data.predictions.conventions import Conventions, HarnessNames, Submission
from vlmbench.data.predictions.formats import find_runs, read
from vlmbench.data.predictions.line import Line, Predictions

__all__ = [
    "Conventions",
    "HarnessNames",
    "Line",
    "Predictions",
    "Submission",
    "find_runs",
    "read",
]
