"""Write a run's scores in the formats that others read.

eval-results is a file for the folder .eval_results/ of the model's repository on the hub. eee is
Every Eval Ever 0.3.0: scores and every sample, as files below --out. model-index, the hub's older
form, belongs between the two lines of --- at the top of the model's README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlmbench.cli.arguments import (
    data_arguments,
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
  vlmbench export runs/mine --to eval-results --tasks docvqa --out docvqa.yaml
  vlmbench export runs/mine --to eee --name my-lab/my-model --out eee"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=path, metavar="RUN", help="a run's folder")
    parser.add_argument("--to", required=True, choices=[*WRITERS], help="what is written")
    tasks_argument(parser, help="default: all with a score")
    parser.add_argument(
        "--name",
        default="",
        metavar="NAME",
        help="of the model; ORGANISATION/MODEL in eee (default: as the run has it)",
    )
    parser.add_argument(
        "--source-url", metavar="URL", help="where the answers can be seen (eval-results, eee)"
    )
    parser.add_argument(
        "--source-name", metavar="NAME", help="that source's name; of eee who publishes it"
    )
    profile_argument(parser)
    parser.add_argument(
        "--allow-part", action="store_true", help="also tasks that were not run as a whole"
    )
    data_arguments(parser)
    json_argument(parser, help="JSON instead of YAML")
    parser.add_argument(
        "--out",
        type=result_path,
        metavar="FILE",
        help="write there, not to stdout; of eee the folder",
    )


def run(args: argparse.Namespace) -> int:
    from vlmbench.runs.folder.finished import open_run

    run = open_run(args.run)
    wanted = run.only(names(args.tasks)).tasks if args.tasks is not None else ()
    document = WRITERS[args.to](run, [task.name for task in wanted], args)
    out = None if args.to == "eee" else args.out
    if args.json:
        put(json.dumps(document, indent=1) + "\n", out)
        return 0
    import yaml

    is_unicode = out is not None  # standard output may take ASCII alone
    put(yaml.safe_dump(document, sort_keys=False, allow_unicode=is_unicode), out)
    return 0


def _model_index(run: FinishedRun, tasks: Sequence[str], args: argparse.Namespace) -> Any:
    from vlmbench.reports.model_card import model_index

    if args.source_url or args.source_name:
        raise VlmbenchError("--source-url and --source-name are for --to eval-results and eee")
    return {
        "model-index": model_index(
            run, name=args.name, tasks=tasks, profile=args.profile, allow_part=args.allow_part
        )
    }


def _eval_results(run: FinishedRun, tasks: Sequence[str], args: argparse.Namespace) -> Any:
    from vlmbench.reports import eval_results

    if args.name:
        raise VlmbenchError(
            "--name is for the other formats: a file of eval-results lies in the model's repository"
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


def _eee(run: FinishedRun, tasks: Sequence[str], args: argparse.Namespace) -> Any:
    from vlmbench.reports.every_eval_ever import writing

    if args.out is None:
        raise VlmbenchError("--to eee writes files; give the folder by --out DIR")
    origin = writing.Origin(
        model=args.name,
        organisation=args.source_name or "",
        url=args.source_url or "",
        data_dir=args.data_dir,
        tasks_dir=args.tasks_dir,
    )
    paths = writing.write(
        run,
        args.out,
        origin,
        tasks=tasks,
        profile=args.profile,
        allow_part=args.allow_part,
    )
    return {"files": [str(path) for path in paths]}


WRITERS = {"eval-results": _eval_results, "eee": _eee, "model-index": _model_index}
