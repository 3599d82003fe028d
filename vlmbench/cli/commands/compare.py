"""Compare two runs on the samples that both have scored.

Samples that share a picture, or are rotations of one question, are not independent, and count so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from vlmbench.cli.arguments import (
    data_arguments,
    format_of,
    json_argument,
    names,
    path,
    profile_argument,
    tasks_argument,
)
from vlmbench.errors import VlmbenchError
from vlmbench.reports.compare import comparison, text
from vlmbench.reports.compare.comparison import KINDS, Comparison, Listed
from vlmbench.runs.folder.finished import open_run

EXAMPLES = """examples:
  vlmbench compare runs/one-crop runs/five-crops
  vlmbench compare runs/one-crop runs/five-crops --tasks docvqa --list flips

Whatever else than the model differs between the runs (prompt style, shots, task version, data) is
said on stderr.
"""

FORMATS = ("text", "json", "csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=path, metavar="A", help="a run's folder")
    parser.add_argument("b", type=path, metavar="B", help="the other run's")
    tasks_argument(parser)
    profile_argument(parser)
    parser.add_argument(
        "--list", choices=KINDS, help="list samples: flips differ; wrong or right in both"
    )
    parser.add_argument(
        "--gold",
        action="store_true",
        help="list questions and right answers too; this reads the data set",
    )
    data_arguments(parser)
    json_argument(parser, help="the same as --format json")
    parser.add_argument("--format", choices=FORMATS, help="what is printed (default: text)")


def run(args: argparse.Namespace) -> int:
    if args.gold and not args.list:
        raise VlmbenchError("--gold is for listed samples; add --list flips, wrong or right")
    form = format_of(args, "text")
    a, b = open_run(args.a), open_run(args.b)
    found = comparison.compare(a, b, names(args.tasks), args.profile)
    for warning in found.warnings:
        print(f"vlmbench: warning: {warning}", file=sys.stderr)
    samples = list(comparison.listed(found, args.list)) if args.list else []
    if args.gold:
        samples = _with_gold(found, samples, args.data_dir, args.tasks_dir)
    if form == "json":
        document = text.as_json(found)
        if args.list:
            document["samples"] = [asdict(one) for one in samples]
        print(json.dumps(document, indent=1))
    elif form == "csv":
        print(text.listing_as_csv(samples) if args.list else text.as_csv(found), end="")
    else:
        print(text.as_text(found))
        if args.list:
            print(f"\n{text.listing_as_text(args.list, samples, args.gold)}")
    return 0


def _with_gold(
    found: Comparison, samples: Sequence[Listed], data_dir: Path | None, tasks_dir: Path | None
) -> list[Listed]:
    known = {
        task.name: comparison.gold(
            task.name, {one.id for one in samples if one.task == task.name}, data_dir, tasks_dir
        )
        for task in found.tasks
    }
    both = [(one, *known[one.task][one.id]) for one in samples]
    return [replace(one, question=question, answers=answers) for one, question, answers in both]
