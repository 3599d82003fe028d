"""Make the file that a benchmark's own server takes from a finished run.

Every sample of the split must be there, answered, and once. With --rehearsal any split of the
benchmark will do (not its stand-in, mini), and a copy of the data set that is not whole: `vlmbench
score --predictions FILE` reads such a file.
"""

from __future__ import annotations

import argparse
import sys

from vlmbench.cli.arguments import path, result_path
from vlmbench.reports.submissions import servers, submit
from vlmbench.runs.folder.finished import open_run

EXAMPLES = """examples:
  vlmbench submit runs/my-model --to docvqa-rrc
  vlmbench submit runs/my-model --to mmbench --split dev-en --out upload.xlsx"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=path, metavar="RUN", help="a run's folder")
    parser.add_argument("--to", required=True, metavar="SERVER", help=", ".join(servers()))
    parser.add_argument("--split", metavar="SPLIT", help="which, where the run has several")
    parser.add_argument(
        "--out", type=result_path, metavar="FILE", help="default: in the run's folder"
    )
    parser.add_argument("--data-dir", type=path, metavar="DIR", help="a local copy of the data set")
    parser.add_argument(
        "--rehearsal", action="store_true", help="a file to score here, of whatever was run"
    )


def run(args: argparse.Namespace) -> int:
    written = submit(
        open_run(args.run),
        args.to,
        out=args.out,
        split=args.split,
        data_dir=args.data_dir,
        rehearsal=args.rehearsal,
    )
    for written_path in written.paths:
        print(written_path)
    for note in written.notes:
        print(f"vlmbench: {note}", file=sys.stderr)
    submission = servers()[args.to].conventions.submission
    assert submission is not None
    goes_to = "nowhere: a rehearsal" if args.rehearsal else submission.goes_to
    print(
        f"vlmbench: {written.num_entries:,} entries for {written.name}; goes to {goes_to}",
        file=sys.stderr,
    )
    return 0
