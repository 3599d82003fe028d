"""Make run folders of another harness's results: lmms-eval, VLMEvalKit, EvalScope, inspect_ai.

Logged answers are scored by our rules; the harness's own number stays beside ours, so that it shows
how much of a score is the harness. The folders then go to board, compare, view and plot.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlmbench.cli.arguments import data_arguments, json_argument, path, reading_arguments
from vlmbench.data import predictions
from vlmbench.errors import VlmbenchError
from vlmbench.runs import importing
from vlmbench.runs.importing import Imported, ImportedTask
from vlmbench.schema import FOLLOWS
from vlmbench.tables import aligned, shortened
from vlmbench.task import loading
from vlmbench.task.reading import Reading

EXAMPLES = """examples:
  vlmbench import lmms-eval/logs --out runs
  vlmbench import VLMEvalKit/outputs/llava_v1.5_7b --list

Where the files carry their samples, no data set is needed; else it comes from the hub's cache, the
hub or --data-dir. Exit code 1: some tasks were left out, and stderr says why.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=path, metavar="DIR", help="results, at any depth")
    parser.add_argument(
        "--out",
        type=path,
        default=Path("runs"),
        metavar="DIR",
        help="a run folder for each model and date goes there (default: runs)",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the samples that the harness scores differently"
    )
    reading_arguments(parser)
    data_arguments(parser)
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    benchmarks = {task.name: task.conventions for task in loading.every(args.tasks_dir)}
    found, skipped = predictions.find_runs(args.folder, benchmarks)
    problems = [f"{one.what}: {one.reason}" for one in skipped]
    imported, names = [], list[str]()
    reading = Reading(final_answer=args.final_answer or "none", split_think=args.split_think)
    for part in (part for one in found for part in importing.separated(one)):
        names.append(importing.folder_name(part, names))
        try:
            imported.append(
                importing.import_run(
                    part,
                    args.out / names[-1],
                    data_dir=args.data_dir,
                    tasks_dir=args.tasks_dir,
                    command=["vlmbench", *sys.argv[1:]],
                    reading=reading,
                )
            )
        except VlmbenchError as error:
            problems.append(str(error))
    problems += [f"{one.run.model}: {problem}" for one in imported for problem in one.problems]
    for problem in problems if imported else ():
        print(f"vlmbench: left out: {problem}", file=sys.stderr)
    if not imported:
        raise VlmbenchError("; ".join(problems))
    if args.json:
        print(json.dumps([_as_json(one, args.list) for one in imported], indent=1))
    else:
        print("\n\n".join(_as_text(one, args.list) for one in imported))
    return 1 if problems else 0


def _as_text(imported: Imported, has_list: bool) -> str:
    run = imported.run
    by = f"{run.harness} {run.version}" if run.version else f"{run.harness}, version unknown"
    lines = [f"{imported.folder}  {run.model}, run by {by}"]
    lines += [*filter(None, [importing.other_version(run)]), ""]
    profile = imported.tasks[0].profile
    header = ("task", "n", run.harness, "ours", "ours - it", f"as {profile}", "different samples")
    table = aligned(header, [_row(task) for task in imported.tasks]).split("\n")
    for number, task in enumerate(imported.tasks, start=len(table) - len(imported.tasks)):
        remark = task.result.remark("official")
        table[number] += f"  {remark}" if remark else ""
    lines += table
    if has_list:
        for task in imported.tasks:
            lines += ["", *_listing(task)]
    return "\n".join(lines)


def _row(task: ImportedTask) -> Sequence[str]:
    ours, theirs = task.score("official"), task.found.reported
    difference = None if ours is None or theirs is None else ours - theirs
    return (
        task.result.name,
        f"{task.result.num_selected:,}",
        _figure(theirs),
        _figure(ours),
        "-" if difference is None else f"{difference:+.2f}",
        _figure(task.score(task.profile)),
        f"{len(task.disagreements):,} of {task.num_compared:,}" if task.num_compared else "-",
    )


def _listing(task: ImportedTask) -> list[str]:
    if not task.num_compared:
        return [f"{task.result.name}: the harness logged no score a sample"]
    if not task.disagreements:
        return [f"{task.result.name}: no sample is scored differently"]
    header = (task.result.name, "response", "parsed", "theirs", "ours", f"as {task.profile}")
    rows = [
        (
            one.id,
            shortened(one.response),
            shortened(str(one.parsed)),
            f"{one.theirs:.3g}",
            f"{one.official:.3g}",
            "-" if one.by_profile is None else f"{one.by_profile:.3g}",
        )
        for one in task.disagreements
    ]
    return [aligned(header, rows, num_left=3)]


def _as_json(imported: Imported, has_list: bool) -> dict[str, Any]:
    run = imported.run
    tasks = [_task_as_json(task, has_list) for task in imported.tasks]
    follows = FOLLOWS[imported.tasks[0].profile]
    about = {
        "profile_follows": follows,
        "harness": run.harness,
        "version": run.version or None,
        "model": run.model,
    }
    return {"run": str(imported.folder), **about, "date": run.date or None, "tasks": tasks}


def _task_as_json(task: ImportedTask, has_list: bool) -> dict[str, Any]:
    figures = {
        "task": task.result.name,
        "harness_task": task.found.name,
        "n": task.result.num_selected,
        "failed": task.result.num_failed,
        "final_answer": task.result.reading.final_answer,
        "remark": task.result.remark("official"),
        "reported": task.found.reported,
        "profiles": {profile: task.score(profile) for profile in task.result.summaries},
        "num_compared": task.num_compared,
        "num_different": len(task.disagreements),
    }
    return figures | ({"different": [asdict(d) for d in task.disagreements]} if has_list else {})


def _figure(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.2f}"
