"""Submission files for the benchmarks' own servers, made from a run and checked for gaps."""

from vlmbench.reports.submissions.writing import Written, servers, submit

__all__ = ["Written", "servers", "submit"]
