"""Score a prediction file: no model, no GPU.

A line of the file is {"id": ..., "response": "..."}. With "sample": {...} beside them, a row with
the hub's column names (pictures left out), no data set is needed. Files of lmms-eval
(samples_*.jsonl) and VLMEvalKit (xlsx, tsv) and the official submission files are read as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack

from vlmbench import files
from vlmbench.cli.arguments import (
    data_arguments,
    json_argument,
    path,
    profile_argument,
    result_path,
    tasks_argument,
)
from vlmbench.errors import VlmbenchError
from vlmbench.files import OutputFile
from vlmbench.reports.summary import as_json, as_text
from vlmbench.task.judging import judged, open_judge
from vlmbench.task.loading import parse_spec
from vlmbench.task.matching import Matched
from vlmbench.task.scoring import Tally, score

EXAMPLES = """examples:
  vlmbench score --tasks textvqa@validation --predictions answers.jsonl
  vlmbench score --tasks mmbench@dev-en --predictions MMBench_DEV_EN.xlsx --json

Failed samples (no response) are not in the mean but counted beside it, and the exit code is 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks_argument(parser, help="see `vlmbench list`", metavar="TASK[@SPLIT]", is_required=True)
    parser.add_argument(
        "--predictions", required=True, type=path, metavar="FILE", help="answers, see above"
    )
    profile_argument(parser)
    data_arguments(parser)
    parser.add_argument(
        "--out", type=result_path, metavar="FILE", help="write one JSON line a sample"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="score an incomplete prediction file"
    )
    parser.add_argument(
        "--judge",
        metavar="URL#MODEL",
        help="let a model on an OpenAI-compatible server extract the answers (MathVista)",
    )
    parser.add_argument(
        "--judge-key-env", default="", metavar="NAME", help="variable that holds its key"
    )
    json_argument(parser)


def run(args: argparse.Namespace) -> int:
    if "," in args.tasks:
        raise VlmbenchError(f"--tasks {args.tasks}: a file holds the answers to one task; name it")
    task, split, is_named = parse_spec(args.tasks, args.tasks_dir)
    if args.profile not in task.profiles:
        raise VlmbenchError(
            f"{task.name} has no profile {args.profile!r}; it has: {', '.join(task.profiles)}"
        )
    if args.out and os.path.realpath(args.out) == os.path.realpath(args.predictions):
        raise VlmbenchError(f"--out would replace the predictions in {args.out}; name another file")
    if args.judge_key_env and not args.judge:
        raise VlmbenchError("--judge-key-env is the key of a judge; name one with --judge")
    matched = Matched(
        task, split, args.predictions, args.data_dir, allow_missing=args.allow_missing
    )
    pairs = matched.pairs()
    if args.judge:
        pairs = judged(task, pairs, open_judge(args.judge, args.judge_key_env))
    tally = Tally(task.profiles)
    first_error = ""
    with ExitStack() as stack:
        output = stack.enter_context(OutputFile(args.out)) if args.out else None
        for scored in score(task, pairs):
            tally.add(scored)
            first_error = first_error or scored.error
            if output:
                output.write(files.encode(scored.record(args.profile)))
    name = f"{task.name}@{split.name}" if is_named or not matched.has_samples else task.name
    summaries = {profile: tally.summary(profile) for profile in task.profiles}
    total = tally.num_rows + matched.num_missing
    if args.json:
        figures = as_json(name, task.version, task.metric, args.profile, summaries, total)
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{name}  {task.metric}, version {task.version}  {args.predictions} ({matched.format})"
        )
        print(as_text(args.profile, summaries, total))
    if tally.failed:
        why = f"; the first: {first_error}" if first_error else ""
        print(f"vlmbench: {tally.failed:,} of {total:,} samples failed{why}", file=sys.stderr)
    return 1 if tally.failed else 0
