"""Write a report that opens from disk: the board of some runs, and every sample in them.

Pictures and prompts come from the data set, which must be on this machine (vlmbench fetch, or
--data-dir as for the run); without it the report has the answers and scores alone, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from vlmbench.cli.arguments import (
    count,
    data_arguments,
    json_argument,
    names,
    path,
    policy_arguments,
    policy_of,
    tasks_argument,
)

EXAMPLES = """examples:
  vlmbench view runs/idefics2-tiny --open
  vlmbench view runs/one-crop runs/five-crops --tasks docvqa --picture-size 1024

The report is a folder; open its index.html. It needs no server and no network.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=path, metavar="RUN", help="a run's folder, or a sweep's"
    )
    parser.add_argument(
        "--out", type=path, default=Path("report"), metavar="DIR", help="default: report"
    )
    tasks_argument(parser)
    data_arguments(parser)
    policy_arguments(parser)
    parser.add_argument(
        "--limit-pictures", type=count(0), metavar="N", help="copy at most N pictures"
    )
    parser.add_argument(
        "--picture-size",
        type=count(1),
        metavar="PX",
        help="scale pictures down to at most this many pixels a side, such as 1024",
    )
    parser.add_argument("--no-plots", dest="has_plots", action="store_false", help="draw none")
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    # a report shows what is at hand: to download a data set is for `vlmbench fetch`
    os.environ["HF_DATASETS_OFFLINE"] = "1"
    from vlmbench.reports.viewer import build
    from vlmbench.runs.folder.sweep import with_runs

    report = build(
        with_runs(args.runs),
        args.out,
        tasks=names(args.tasks),
        data_dir=args.data_dir,
        tasks_dir=args.tasks_dir,
        policy=policy_of(args),
        limit_pictures=args.limit_pictures,
        max_side=args.picture_size,
        has_plots=args.has_plots,
    )
    for note in report.notes:
        print(f"vlmbench: {note}", file=sys.stderr)
    if args.json:
        document = {
            "page": str(report.page),
            "samples": report.num_samples,
            "pictures": report.num_pictures,
            "notes": list(report.notes),
        }
        print(json.dumps(document, indent=1))
    else:
        print(f"{report.page}  {report.num_samples:,} samples, {report.num_pictures:,} pictures")
    if args.open:
        import webbrowser

        webbrowser.open(report.page.resolve().as_uri())
    return 0
