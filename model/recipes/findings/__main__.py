"""The paper's six findings in miniature: trains the arms that are compared, and reports on them.

    scripts/findings train [--arms A,B] [--seeds 3] [--workers 2] [--budget MINUTES]
    scripts/findings report

A second call goes on where the first was stopped. The README in results/findings has more.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from pathlib import Path

from . import arms, models, training, workers
from .laboratory import Places, train_arm, train_backbone
from .report import write_report

ROOT = Path(__file__).resolve().parents[3]


def main() -> int:
    args = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that trainings end with this
    results = args.results if args.size == models.DEFAULT else args.results / args.size
    places = Places(args.runs, results)
    places.runs.mkdir(parents=True, exist_ok=True)
    try:
        if args.command == "train":
            return _train(args, places)
        if args.command == "report":
            print(write_report(places.results, args.size))
        elif args.command == "backbone":
            train_backbone(args.part, args.strength, args.size, places)
        else:
            train_arm(args.name, args.seed, args.size, args.steps, places)
    except ValueError as error:
        print(f"findings: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/findings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "findings", metavar="DIR")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "findings")
    parser.add_argument("--size", choices=models.SIZES, default=models.DEFAULT)
    parser.add_argument("--steps", type=int, default=training.NUM_STEPS, help="of an arm")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="backbones and arms that are not finished yet")
    train.add_argument("--arms", default=",".join(arms.ARMS), help="names, comma-separated")
    train.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    train.add_argument("--workers", type=int, default=2, help="trainings side by side")
    train.add_argument("--budget", type=float, default=math.inf, help="minutes to begin arms in")
    commands.add_parser("report", help="findings.md and its figures, from the finished arms")
    backbone = commands.add_parser("backbone", help="train one backbone")
    backbone.add_argument("part", choices=("vision", "text"))
    backbone.add_argument("strength", choices=("strong", "weak"))
    arm = commands.add_parser("arm", help="train one arm with one seed")
    arm.add_argument("name", choices=arms.ARMS)
    arm.add_argument("seed", type=int)
    return parser


def _train(args: argparse.Namespace, places: Places) -> int:
    names = args.arms.split(",")
    if unknown := [name for name in names if name not in arms.ARMS]:
        raise ValueError(f"no arm {unknown[0]!r}; there are: {', '.join(arms.ARMS)}")
    until = time.monotonic() + 60 * args.budget
    command = [sys.executable, "-m", "recipes.findings"]
    for name in ("runs", "results", "size", "steps"):
        command += [f"--{name}", str(getattr(args, name))]
    failed = workers.run(workers.backbone_jobs(places), command, args.workers, until)
    if not failed:
        jobs = workers.arm_jobs(names, range(args.seeds), places)
        failed = workers.run(jobs, command, args.workers, until)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
