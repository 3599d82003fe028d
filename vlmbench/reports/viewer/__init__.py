"""A report that a browser opens from disk: the board of some runs and every sample in them."""

from __future__ import annotations

from vlmbench.reports.viewer.report import Report, build

__all__ = ["Report", "build"]
