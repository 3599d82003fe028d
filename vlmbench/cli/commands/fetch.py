"""Download splits ahead of a run, and check their numbers of rows and columns."""

from __future__ import annotations

import argparse

from vlmbench.cli.arguments import path
from vlmbench.data import splits
from vlmbench.task import loading

EXAMPLES = """examples:
  vlmbench fetch textvqa@validation
  vlmbench fetch mmbench@dev-en docvqa docvqa@train"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="+", metavar="TASK[@SPLIT]")
    parser.add_argument("--force", action="store_true", help="download again what is there")
    parser.add_argument("--tasks-dir", type=path, metavar="DIR", help="your own task files")


def run(args: argparse.Namespace) -> int:
    specs = [loading.parse_spec(spec, args.tasks_dir) for spec in args.tasks]
    for found, split, _ in specs:
        rows = splits.fetch(found.name, split, force=args.force)
        name = f"{found.name}@{split.name}"
        print(f"{name}: {len(rows):,} rows from {rows.source} at {rows.revision}", flush=True)
    return 0
