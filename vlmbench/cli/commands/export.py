"""Write a run's scores as metadata for its model's card on the hub.

The result belongs between the two lines of --- at the top of the model's README.md.
"""

from __future__ import annotations

import argparse

from vlmbench.cli.arguments import path, result_path
from vlmbench.files import put
from vlmbench.schema import PROFILES

EXAMPLES = """examples:
  vlmbench export runs/idefics2-8b --to model-index
  vlmbench export runs/mine --to model-index --tasks docvqa@validation --out card.yaml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=path, metavar="RUN", help="a run's folder")
    parser.add_argument("--to", required=True, choices=["model-index"], help="what is written")
    parser.add_argument("--tasks", metavar="TASK@SPLIT,...", help="default: all with a score")
    parser.add_argument("--name", default="", help="of the model (default: as the run has it)")
    parser.add_argument("--profile", default="official", choices=PROFILES)
    parser.add_argument(
        "--allow-part", action="store_true", help="also tasks that were not run as a whole"
    )
    parser.add_argument(
        "--out", type=result_path, metavar="FILE", help="write there, not to stdout"
    )


def run(args: argparse.Namespace) -> int:
    import yaml

    from vlmbench.reports.model_card import model_index
    from vlmbench.runs.folder.finished import open_run

    index = model_index(
        open_run(args.run),
        name=args.name,
        tasks=[name.strip() for name in args.tasks.split(",")] if args.tasks else (),
        profile=args.profile,
        allow_part=args.allow_part,
    )
    is_unicode = args.out is not None  # standard output may take ASCII alone
    put(yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=is_unicode), args.out)
    return 0
