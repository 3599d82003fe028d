"""Decide on a candidate against a baseline, on the samples that both were asked.

GO: no task loses more than --max-drop points. NO-GO: one loses more, or another limit is not kept.
INCONCLUSIVE: these samples cannot tell.
"""

from __future__ import annotations

import argparse
import json
import math
import sys

from vlmbench.cli.arguments import cut, json_argument, names, path, profile_argument, tasks_argument

EXAMPLES = """examples:
  vlmbench gate runs/release runs/candidate --max-drop 1.0
  vlmbench gate runs/release runs/candidate --tasks docvqa --min-gain 2 --json
  vlmbench gate runs/release runs/quantized --max-latency-ratio 0.8

Exit codes: 0 GO, 1 NO-GO, 2 a mistake in the command, 3 INCONCLUSIVE. For a candidate
at the very limit, GO and NO-GO are each wrong in 5 % of cases. A second look after more samples is
a second test with an error rate of its own. Latency is that of two sessions: time both on a machine
that does nothing else, as the interval knows nothing of what else it did.
"""

CODES = {"GO": 0, "NO-GO": 1, "INCONCLUSIVE": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("baseline", type=path, metavar="BASELINE", help="a run's folder")
    parser.add_argument("candidate", type=path, metavar="CANDIDATE", help="the new run's")
    parser.add_argument(
        "--max-drop",
        type=_points,
        default=1.0,
        metavar="POINTS",
        help="the most that any task may lose (default: 1.0)",
    )
    parser.add_argument(
        "--min-gain",
        type=_points,
        metavar="POINTS",
        help="the least that the mean over the tasks must gain, beside that (default: not asked)",
    )
    parser.add_argument(
        "--max-latency-ratio",
        type=_ratio,
        metavar="R",
        help="the most of single-stream latency over the baseline's (default: not asked)",
    )
    tasks_argument(parser)
    profile_argument(parser)
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from vlmbench.reports.gate import decision, text
    from vlmbench.runs.folder.finished import open_run

    limits = decision.Limits(
        max_drop=args.max_drop,
        min_gain=args.min_gain,
        max_latency_ratio=args.max_latency_ratio,
    )
    found = decision.decide(
        open_run(args.baseline), open_run(args.candidate), limits, names(args.tasks), args.profile
    )
    for warning in found.warnings:
        print(f"vlmbench: warning: {warning}", file=sys.stderr)
    print(json.dumps(text.as_json(found), indent=1) if args.json else text.as_text(found))
    return CODES[found.answer]


def _points(text: str) -> float:
    found = _number(text)
    if not 0 <= found <= 100:
        raise argparse.ArgumentTypeError(f"{cut(text)!r} is no number of points from 0 to 100")
    return found


def _ratio(text: str) -> float:
    found = _number(text)
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{cut(text)!r} is no ratio above 0, such as 1.1")
    return found


def _number(text: str) -> float:
    """Not a number where it is none, which fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return math.nan
