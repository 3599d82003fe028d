"""Write a run's scores as metadata for its model's card on the hub.

The result belongs between the two lines of --- at the top of the model's README.md.
"""

from __future__ import annotations

import argparse
import json

from vlmbench.cli.arguments import (
    json_argument,
    names,
    path,
    profile_argument,
    result_path,
    tasks_argument,
)
from vlmbench.files import put

EXAMPLES = """examples:
  vlmbench export runs/idefics2-8b --to model-index
  vlmbench export runs/mine --to model-index --tasks docvqa --out card.yaml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=path, metavar="RUN", help="a run's folder")
    parser.add_argument("--to", required=True, choices=["model-index"], help="what is written")
    tasks_argument(parser, help="default: all with a score")
    parser.add_argument(
        "--name", default="", metavar="NAME", help="of the model (default: as the run has it)"
    )
    profile_argument(parser)
    parser.add_argument(
        "--allow-part", action="store_true", help="also tasks that were not run as a whole"
    )
    json_argument(parser, help="JSON instead of YAML")
    parser.add_argument(
        "--out", type=result_path, metavar="FILE", help="write there, not to stdout"
    )


def run(args: argparse.Namespace) -> int:
    from vlmbench.reports.model_card import model_index
    from vlmbench.runs.folder.finished import open_run

    run = open_run(args.run)
    wanted = run.only(names(args.tasks)).tasks if args.tasks is not None else ()
    index = model_index(
        run,
        name=args.name,
        tasks=[task.name for task in wanted],
        profile=args.profile,
        allow_part=args.allow_part,
    )
    document = {"model-index": index}
    if args.json:
        put(json.dumps(document, indent=1) + "\n", args.out)
        return 0
    import yaml

    is_unicode = args.out is not None  # standard output may take ASCII alone
    put(yaml.safe_dump(document, sort_keys=False, allow_unicode=is_unicode), args.out)
    return 0
