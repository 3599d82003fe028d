"""Prediction files: ours, lmms-eval's, VLMEvalKit's and the benchmarks' own submission formats."""

from vlmbench.data.predictions.formats import read
from vlmbench.data.predictions.line import Line, Predictions

__all__ = ["Line", "Predictions", "read"]
