"""Train a model by a recipe, or resume the training that the folder holds.

A recipe is a function in a file or package of model/recipes, or in your own.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vlmbench.cli.arguments import count, json_argument, path, processes, track_argument
from vlmbench.errors import VlmbenchError
from vlmbench.runs import ranks

if TYPE_CHECKING:
    from idefics2.train.recipe import Recipe

EXAMPLES = """examples:
  vlmbench train tiny --out runs/tiny --processes 2
  vlmbench train my_recipes.py:small --out runs/small --set words.num_steps=200"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe", metavar="RECIPE", help="NAME, PATH.py or path/to/folder; :FUNCTION"
    )
    parser.add_argument("--out", type=path, metavar="DIR", help="folder for log and checkpoints")
    parser.add_argument("--steps", type=count(1), metavar="N", help="steps of every stage")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value of a setting, such as STAGE.batch_size=32",
    )
    parser.add_argument(
        "--processes", type=processes, default=1, metavar="N", help="train data-parallel"
    )
    parser.add_argument(
        "--shard", action="store_true", help="each process holds a part of the model (FSDP)"
    )
    track_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the recipe as JSON")
    json_argument(parser, help="with --dry-run, where it is the only form")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    if "RANK" in os.environ and "WORLD_SIZE" not in os.environ:
        raise VlmbenchError(
            "RANK is set and WORLD_SIZE is not; start all processes by a launcher, or unset RANK"
        )
    rank = ranks.rank()
    try:
        recipe = _recipe(args)
        if args.dry_run:
            from idefics2.train.recipe import describe

            print(json.dumps(describe(recipe), indent=1))
            return 0
        if args.out is None:
            raise VlmbenchError("name a folder with --out, or look at the recipe with --dry-run")
        return _train(args, recipe, rank)
    except ValueError as error:
        raise VlmbenchError(str(error)) from error


def _recipe(args: argparse.Namespace) -> Recipe:
    from idefics2.train.overrides import override, with_steps
    from idefics2.train.recipe_loading import find_recipe

    recipe = find_recipe(args.recipe)
    if args.steps is not None:
        recipe = with_steps(recipe, args.steps)
    return override(recipe, args.set)


def _train(args: argparse.Namespace, recipe: Recipe, rank: int | None) -> int:
    from vlmbench.reports import tracking

    is_first = rank in (None, 0)
    tracker = tracking.parse(args.track) if args.track and is_first else None
    if args.processes > 1 and rank is None:
        from idefics2.train.processes import run_together

        with tracking.following(tracker, args.out / "log.jsonl"):
            return run_together(_command(args), args.processes)
    from idefics2.train.loop import train

    with tracking.following(tracker, args.out / "log.jsonl"):
        folder = train(recipe, args.out, is_quiet=args.quiet, is_sharded=args.shard)
    if is_first:
        _draw_curves(args.out)
        print(folder)
    return 0


def _draw_curves(folder: Path) -> None:
    from vlmbench.reports import plots
    from vlmbench.reports.plots import training

    log = plots.read_log(folder / "log.jsonl")
    plots.write(training.drawing([log], plots.SIZES["column"]), folder, ("svg", "png"))


def _command(args: argparse.Namespace) -> list[str]:
    """Arguments of Python for each of several processes."""
    command = ["-m", "vlmbench", "train", args.recipe, "--out", str(args.out)]
    if args.steps is not None:
        command += ["--steps", str(args.steps)]
    for setting in args.set:
        command += ["--set", setting]
    command += [flag for flag in ("--quiet", "--shard") if getattr(args, flag[2:])]
    return command
