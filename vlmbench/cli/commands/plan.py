"""Show what a run would ask, and with --simulate how long it takes how many GPUs at what price.

The simulation hands the run's samples out with the very dispatcher of `vlmbench run`, to workers
that take the times of a pilot: a run of some samples of each task on one such GPU.
"""

from __future__ import annotations

import argparse
import json
import math

from vlmbench.cli.arguments import (
    count,
    json_argument,
    model_arguments,
    path,
    settings_arguments,
    tasks_argument,
)
from vlmbench.cli.commands import run as running
from vlmbench.errors import VlmbenchError

EXAMPLES = """examples:
  vlmbench plan --model idefics2:HuggingFaceM4/idefics2-8b --tasks vqav2,docvqa
  vlmbench plan --model idefics2:MODEL --tasks docvqa --simulate \\
      --like runs/pilot --gpus 1,8,64 --spot-loss 0.05 --usd-per-hour 2.5
"""

SIZES = (1, 8, 64, 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    tasks_argument(parser, help="see `vlmbench list`", is_required=True)
    parser.add_argument(
        "--limit", type=running.limit, metavar="N|F", help="the first N, or a share F < 1"
    )
    parser.add_argument("--data-dir", type=path, metavar="DIR", help="a local copy of the data set")
    running.style_argument(parser)
    json_argument(parser)
    running.selecting_arguments(parser)
    running.prompt_arguments(parser)
    _simulating_arguments(parser)
    settings_arguments(parser)


def _simulating_arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("simulation")
    how.add_argument("--simulate", action="store_true", help="foretell time, idle share and cost")
    rates = how.add_mutually_exclusive_group()
    rates.add_argument("--like", type=path, metavar="RUN", help="folder of the pilot")
    rates.add_argument(
        "--seconds", type=_positive, metavar="S", help="without a pilot: those of a mean sample"
    )
    how.add_argument(
        "--gpus",
        type=_sizes,
        default=SIZES,
        metavar="N,...",
        help="numbers of workers to compare (default: 1,8,64,1024)",
    )
    how.add_argument(
        "--slowdown",
        type=_positive,
        default=1.0,
        metavar="F",
        help="a worker takes F times the pilot's times (default: 1)",
    )
    how.add_argument(
        "--spot-loss",
        type=_positive,
        default=0.0,
        metavar="PER_HOUR",
        help="how often an hour a node is taken away (default: never)",
    )
    how.add_argument(
        "--node-gpus", type=count(1), default=8, metavar="N", help="of a node (default: 8)"
    )
    how.add_argument(
        "--replace-after",
        type=_positive,
        default=120.0,
        metavar="SECONDS",
        help="until another node is there, its model not yet loaded (default: 120)",
    )
    how.add_argument("--usd-per-hour", type=_positive, metavar="X", help="price of a GPU")


def run(args: argparse.Namespace) -> int:
    planned = running.planned_of(args, num_workers=max(args.gpus))
    if not args.simulate:
        from vlmbench.runs import dry_run

        forecast = dry_run.figures(planned)
        print(json.dumps(forecast, indent=1) if args.json else dry_run.described(forecast))
        return 0
    if args.like is None and not args.seconds:
        raise VlmbenchError(
            "--simulate needs the times of a pilot: run some samples of each task on one GPU "
            "(vlmbench run ... --limit 200 --out runs/pilot), then give --like runs/pilot; or "
            "assume some: --seconds S"
        )
    from vlmbench.runs import forecast as forecasts
    from vlmbench.runs import rates

    taken = (
        rates.measured(args.like, planned.items)
        if args.like
        else rates.assumed(args.seconds, planned.items)
    )
    pool = forecasts.Pool(
        slowdown=args.slowdown,
        losses_per_hour=args.spot_loss,
        node_gpus=args.node_gpus,
        replace_s=args.replace_after,
        usd_per_hour=args.usd_per_hour,
    )
    found = forecasts.figures(planned.items, taken, args.gpus, pool)
    print(json.dumps(found, indent=1) if args.json else forecasts.described(found))
    return 0


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({count(1)(part.strip()) for part in text.split(",")}))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is below 0, or no number")
    return number
