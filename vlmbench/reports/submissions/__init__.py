"""Files for the benchmarks' own servers, made from a run and checked against the whole split."""

from vlmbench.reports.submissions.benchmarks import SERVERS, Server, Written, submit

__all__ = ["SERVERS", "Server", "Written", "submit"]
