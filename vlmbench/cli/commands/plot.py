"""Draw figures of runs: accuracy against costs, all tasks, categories, latencies, training.

The trade-off is that of the mean over tasks, or of the only one (--tasks); --kind tasks draws each
task's. A curve joins the runs of one sweep.

Series differ by marker, line and hatch, so that they can be told apart in black and white. What
the runs lack the data for is left out, with the reason on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vlmbench.cli.arguments import json_argument, names, path, profile_argument, tasks_argument
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.reports import plots
from vlmbench.reports.board.baselines import choose, load
from vlmbench.reports.plots import Drawing, Skipped, training
from vlmbench.reports.plots.tradeoff import AXES
from vlmbench.runs.folder.finished import open_run
from vlmbench.runs.folder.sweep import with_runs

EXAMPLES = """examples:
  vlmbench plot runs/one-crop runs/five-crops --out figures
  vlmbench plot runs/sweep-idefics2-tiny --costs tokens,latency
  vlmbench plot runs/my-model --kind tasks,radar --size slide --format png
  vlmbench plot --training runs/train/log.jsonl"""

KINDS = (*plots.KINDS, "training", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="*", type=path, metavar="RUN", help="folders of runs or sweeps"
    )
    tasks_argument(parser)
    parser.add_argument(
        "--kind",
        metavar="KIND,...",
        help=f"{', '.join(KINDS)} (default: tradeoff and radar; of one run its categories too)",
    )
    parser.add_argument(
        "--costs",
        metavar="NAME,...",
        help=f"of trade-offs: {', '.join(AXES)} (default: all that are known)",
    )
    parser.add_argument(
        "--training",
        action="append",
        default=[],
        type=path,
        metavar="LOG",
        help="a training log; several are drawn together",
    )
    parser.add_argument(
        "--out", type=path, default=Path("plots"), metavar="DIR", help="default: plots"
    )
    parser.add_argument(
        "--format", default="png,svg", metavar="NAME,...", help=", ".join(plots.FORMATS)
    )
    parser.add_argument(
        "--size", default="column", choices=plots.SIZES, help="of a paper's column or a slide"
    )
    profile_argument(parser)
    parser.add_argument(
        "--baselines",
        default="*",
        metavar="NAME,...",
        help="reported systems beside the runs (default: all that fit; none: no others)",
    )
    json_argument(parser, help="print the files' names as JSON")


def run(args: argparse.Namespace) -> int:
    kinds = _listed(args.kind, KINDS, "kind of plot") if args.kind is not None else []
    costs = _listed(args.costs, AXES, "cost") if args.costs is not None else []
    formats = _listed(args.format, plots.FORMATS, "format")
    size = plots.SIZES[args.size]
    if "all" in kinds:
        kinds = [*plots.KINDS, "training"]
    if "training" in kinds and kinds == ["training"] and not args.training:
        raise VlmbenchError("training curves are drawn from a log: give --training LOG")
    if args.training and kinds and "training" not in kinds:
        raise VlmbenchError("--training has no part in --kind; add training to it")
    if not args.runs and not args.training:
        raise VlmbenchError("nothing to plot: name run folders, or a log with --training")
    if not args.runs and args.kind not in (None, "all", "training"):
        raise VlmbenchError(f"--kind {args.kind} needs run folders, and none is named")
    drawings: list[Drawing | Skipped] = []
    if args.runs:
        systems = () if args.baselines == "none" else choose(load(), args.baselines.split(","))
        folders = with_runs(args.runs)
        found = [open_run(folder).only(names(args.tasks)) for folder in folders]
        wanted = [kind for kind in kinds if kind != "training"]
        if wanted or not kinds:
            drawings += plots.figures(
                found, wanted, profile=args.profile, systems=systems, size=size, costs=costs
            )
    if args.training:
        drawings.append(training.drawing([plots.read_log(log) for log in args.training], size))
    paths: list[Path] = []
    skipped = [drawing.reason for drawing in drawings if isinstance(drawing, Skipped)]
    for reason in skipped:
        print(f"vlmbench: left out: {reason}", file=sys.stderr)
    for drawing in drawings:
        if isinstance(drawing, Skipped):
            continue
        for written in plots.write(drawing, args.out, formats):
            paths.append(written)
            if not args.json:
                print(written, flush=True)
    if not paths:
        raise VlmbenchError("no figure could be drawn: the reasons are above")
    if args.json:
        print(json.dumps({"files": [str(one) for one in paths], "left_out": skipped}, indent=1))
    return 0


def _listed(value: str, known: tuple[str, ...], what: str) -> list[str]:
    wanted = names(value)
    for name in wanted:
        if name not in known:
            raise no_such(what, name, known)
    return list(dict.fromkeys(wanted))
