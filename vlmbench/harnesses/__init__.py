"""Result folders of other harnesses: what was run, in which files, and what they report of it."""

from vlmbench.harnesses.folders import find
from vlmbench.harnesses.found import HarnessRun, HarnessTask, Skipped

__all__ = ["HarnessRun", "HarnessTask", "Skipped", "find"]
