"""Result folders of other harnesses: what was run, in which files, and what they report of it."""

from vlmbench.data.predictions.harness_runs.folders import find
from vlmbench.data.predictions.harness_runs.found import HarnessRun, HarnessTask, Skipped

__all__ = ["HarnessRun", "HarnessTask", "Skipped", "find"]
