"""Download splits ahead of a run, and check their numbers of rows and columns."""

from __future__ import annotations

import argparse
import json

from vlmbench.cli.arguments import TASKS_DIR, json_argument, path
from vlmbench.data import splits
from vlmbench.task import loading

EXAMPLES = """examples:
  vlmbench fetch textvqa@validation
  vlmbench fetch mmbench@dev-en docvqa docvqa@train"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="+", metavar="TASK[@SPLIT]", help="see `vlmbench list`")
    parser.add_argument("--force", action="store_true", help="download again what is there")
    parser.add_argument("--tasks-dir", type=path, metavar="DIR", help=TASKS_DIR)
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    specs = [loading.parse_spec(spec, args.tasks_dir) for spec in args.tasks]
    documents = []
    for found, split, _ in specs:
        rows = splits.fetch(found.name, split, force=args.force)
        name = f"{found.name}@{split.name}"
        documents.append(
            {"task": name, "rows": len(rows), "source": rows.source, "revision": rows.revision}
        )
        if not args.json:
            print(f"{name}: {len(rows):,} rows from {rows.source} at {rows.revision}", flush=True)
    if args.json:
        print(json.dumps(documents, indent=1))
    return 0
