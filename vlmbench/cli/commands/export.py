"""Write a run's scores as the hub takes them.

eval-results is a file for the folder .eval_results/ of the model's repository. model-index, the
older form, belongs between the two lines of --- at the top of the model's README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlmbench.cli.arguments import (
    json_argument,
    names,
    path,
    profile_argument,
    result_path,
    tasks_argument,
)
from vlmbench.errors import VlmbenchError
from vlmbench.files import put

if TYPE_CHECKING:
    from vlmbench.runs.folder.finished import FinishedRun

EXAMPLES = """examples:
  vlmbench export runs/idefics2-8b --to model-index
  vlmbench export runs/mine --to eval-results --tasks docvqa --out docvqa.yaml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=path, metavar="RUN", help="a run's folder")
    parser.add_argument(
        "--to", required=True, choices=["eval-results", "model-index"], help="what is written"
    )
    tasks_argument(parser, help="default: all with a score")
    parser.add_argument(
        "--name", default="", metavar="NAME", help="of the model (default: as the run has it)"
    )
    parser.add_argument(
        "--source-url", metavar="URL", help="where the answers can be seen (eval-results)"
    )
    parser.add_argument("--source-name", metavar="NAME", help="that source's name (eval-results)")
    profile_argument(parser)
    parser.add_argument(
        "--allow-part", action="store_true", help="also tasks that were not run as a whole"
    )
    json_argument(parser, help="JSON instead of YAML")
    parser.add_argument(
        "--out", type=result_path, metavar="FILE", help="write there, not to stdout"
    )


def run(args: argparse.Namespace) -> int:
    from vlmbench.runs.folder.finished import open_run

    run = open_run(args.run)
    wanted = run.only(names(args.tasks)).tasks if args.tasks is not None else ()
    document = WRITERS[args.to](run, [task.name for task in wanted], args)
    if args.json:
        put(json.dumps(document, indent=1) + "\n", args.out)
        return 0
    import yaml

    is_unicode = args.out is not None  # standard output may take ASCII alone
    put(yaml.safe_dump(document, sort_keys=False, allow_unicode=is_unicode), args.out)
    return 0


def _model_index(run: FinishedRun, tasks: Sequence[str], args: argparse.Namespace) -> Any:
    from vlmbench.reports.model_card import model_index

    if args.source_url or args.source_name:
        raise VlmbenchError("--source-url and --source-name are for --to eval-results")
    return {
        "model-index": model_index(
            run, name=args.name, tasks=tasks, profile=args.profile, allow_part=args.allow_part
        )
    }


def _eval_results(run: FinishedRun, tasks: Sequence[str], args: argparse.Namespace) -> Any:
    from vlmbench.reports import eval_results

    if args.name:
        raise VlmbenchError(
            "--name is for --to model-index: a file of eval-results lies in the model's repository"
        )
    found = eval_results.entries(
        run,
        tasks=tasks,
        profile=args.profile,
        allow_part=args.allow_part,
        source_url=args.source_url,
        source_name=args.source_name,
    )
    print(f"vlmbench: {eval_results.UNREGISTERED}", file=sys.stderr)
    return found


WRITERS = {"model-index": _model_index, "eval-results": _eval_results}
