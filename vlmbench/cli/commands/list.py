"""Show the tasks and their splits. A task alone means its first split.

Answers that were published after the fact are in "some sources", so that a copy may lack them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import PurePosixPath
from typing import Any

from vlmbench.cli.arguments import TASKS_DIR, json_argument, path
from vlmbench.data.splits import Drawn, Hub, Split, Url
from vlmbench.tables import aligned
from vlmbench.task import loading, task

EXAMPLES = """examples:
  vlmbench list
  vlmbench list --tasks-dir my_tasks --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_argument(parser, help="print JSON, with all sources")
    parser.add_argument("--tasks-dir", type=path, metavar="DIR", help=TASKS_DIR)


def run(args: argparse.Namespace) -> int:
    splits = [(found, split) for found in loading.every(args.tasks_dir) for split in found.splits]
    if args.json:
        print(json.dumps([_record(found, split) for found, split in splits], indent=1))
        return 0
    rows = [
        (
            f"{found.name}@{split.name}",
            found.metric,
            split.answers,
            _short_name(split),
            f"{split.size:,}" if split.size is not None else "?",
        )
        for found, split in splits
    ]
    print(aligned(("task@split", "metric", "answers", "source", "rows"), rows, num_left=4))
    return 0


def _record(found: task.Task, split: Split) -> dict[str, Any]:
    return {
        "task": found.name,
        "split": split.name,
        "title": found.title or found.name,
        "version": found.version,
        "metric": found.metric,
        "profiles": list(found.profiles),
        "size": split.size,
        "answers": split.answers,
        "sources": [_source(source) for source in split.sources],
        "columns": [*split.columns, *split.pictures],
        "train": train.name if (train := split.train or found.train) else None,
    }


def _source(source: Hub | Url | Drawn) -> dict[str, str]:
    if isinstance(source, Hub):
        return {"id": source.id, "revision": source.revision, "files": source.pattern}
    if isinstance(source, Drawn):
        return {"drawn_by": source.name, "part": source.part}
    return {"url": source.url, "md5": source.md5}


def _short_name(split: Split) -> str:
    if not split.sources:
        return "-"
    first = split.sources[0]
    if isinstance(first, Url):
        return PurePosixPath(first.url).name
    return first.name
