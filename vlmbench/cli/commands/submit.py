"""Make the file that a benchmark's own server takes from a finished run.

Every sample of the split must be there, answered, and once. With --rehearsal any split of the
benchmark will do (not its stand-in, mini), and a copy of the data set that is not whole: `vlmbench
score --predictions FILE` reads such a file.
"""

from __future__ import annotations

import argparse
import json
import sys

from vlmbench.cli.arguments import json_argument, names, path, result_path, tasks_argument
from vlmbench.reports.submissions import servers, submit
from vlmbench.runs.folder.finished import open_run

EXAMPLES = """examples:
  vlmbench submit runs/my-model --to docvqa-rrc
  vlmbench submit runs/my-model --to mmbench --tasks mmbench@dev-en"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=path, metavar="RUN", help="a run's folder")
    parser.add_argument("--to", required=True, metavar="SERVER", help=", ".join(servers()))
    tasks_argument(
        parser, help="which split, where the run has several that fit", metavar="TASK@SPLIT"
    )
    parser.add_argument("--split", metavar="SPLIT", help="the same, without the task")
    parser.add_argument(
        "--out", type=result_path, metavar="FILE", help="default: in the run's folder"
    )
    parser.add_argument("--data-dir", type=path, metavar="DIR", help="a local copy of the data set")
    parser.add_argument(
        "--rehearsal", action="store_true", help="a file to score here, of whatever was run"
    )
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    written = submit(
        open_run(args.run).only(names(args.tasks)),
        args.to,
        out=args.out,
        split=args.split,
        data_dir=args.data_dir,
        rehearsal=args.rehearsal,
    )
    submission = servers()[args.to].conventions.submission
    assert submission is not None
    goes_to = "nowhere: a rehearsal" if args.rehearsal else submission.goes_to
    if args.json:
        document = {
            "paths": [str(written_path) for written_path in written.paths],
            "task": written.name,
            "entries": written.num_entries,
            "goes_to": goes_to,
            "notes": list(written.notes),
        }
        print(json.dumps(document, indent=1))
        return 0
    for written_path in written.paths:
        print(written_path)
    for note in written.notes:
        print(f"vlmbench: {note}", file=sys.stderr)
    print(
        f"vlmbench: {written.num_entries:,} entries for {written.name}; goes to {goes_to}",
        file=sys.stderr,
    )
    return 0
