"""Score a prediction file: no model, no GPU.

A line of the file is {"id": ..., "response": "..."}. With "sample": {...} beside them, a row with
the hub's column names (pictures left out), no data set is needed. Files of lmms-eval, VLMEvalKit,
EvalScope, inspect_ai, LLaVA, InternVL, Qwen-VL and MMMU's own evaluation, and the official
submission files, are read as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from vlmbench import files
from vlmbench.cli.arguments import (
    count,
    data_arguments,
    json_argument,
    path,
    profile_argument,
    reading_arguments,
    result_path,
    tasks_argument,
)
from vlmbench.errors import VlmbenchError
from vlmbench.files import OutputFile
from vlmbench.reports.summary import as_json, as_text
from vlmbench.runs.folder.scores import record_of
from vlmbench.schema import Json, Prediction, Sample
from vlmbench.task.loading import parse_spec
from vlmbench.task.matching import Matched
from vlmbench.task.reading import Reading
from vlmbench.task.scoring import Tally, score

if TYPE_CHECKING:
    from vlmbench.runs.judging import Judge
    from vlmbench.task.task import Task

EXAMPLES = """examples:
  vlmbench score --tasks textvqa@validation --predictions answers.jsonl
  vlmbench score --tasks mathvista --predictions answers.jsonl \\
      --out scores.jsonl --judge openai:http://localhost:8000#my-judge

Failed samples (no response) are not in the mean but counted beside it, and the exit code is 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks_argument(parser, help="see `vlmbench list`", metavar="TASK[@SPLIT]", is_required=True)
    parser.add_argument(
        "--predictions", required=True, type=path, metavar="FILE", help="answers, see above"
    )
    profile_argument(parser)
    reading_arguments(parser)
    data_arguments(parser)
    parser.add_argument(
        "--out", type=result_path, metavar="FILE", help="write one JSON line a sample"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="score an incomplete prediction file"
    )
    parser.add_argument(
        "--vanilla",
        action="store_true",
        help="score each row of MMBench by itself, not all rotations of a question together",
    )
    json_argument(parser)
    judge = parser.add_argument_group(
        "a model as judge: of answers (MathVista), of letters not found (MMMU, MMBench)"
    )
    judge.add_argument(
        "--judge",
        metavar="BACKEND:MODEL",
        help="openai:URL#MODEL, or any other that `vlmbench run` takes; with --out its replies are "
        "kept in judge-*.jsonl beside the scores, and nothing is asked twice",
    )
    judge.add_argument(
        "--judge-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of its backend: concurrency=4, timeout_s=60, max_retries=2",
    )
    judge.add_argument(
        "--judge-check",
        type=count(0),
        default=50,
        metavar="N",
        help="so many letters that the rules find are shown to it too, to report how far the two "
        "agree; the rules' count (default: 50)",
    )
    judge.add_argument(
        "--judge-key-env", metavar="NAME", help="variable that holds a server's key (api_key_env)"
    )


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
    settings = _judge_settings(args)
    matched = Matched(
        task,
        split if is_named else None,
        args.predictions,
        args.data_dir,
        allow_missing=args.allow_missing,
    )
    reading = Reading(final_answer=args.final_answer or "none", split_think=args.split_think)
    name = f"{task.name}@{matched.split.name}"
    tally = Tally(task.profiles)
    first_error = ""
    with ExitStack() as stack:
        pairs = matched.pairs()
        if args.vanilla:
            pairs = _without_groups(pairs)
        judge = None
        if args.judge:
            judge = stack.enter_context(_judge(task, args, settings, reading))
            pairs = judge.judged(pairs)
        output = stack.enter_context(OutputFile(args.out)) if args.out else None
        for scored in score(task, pairs, reading, matched.group_sizes):
            tally.add(scored)
            first_error = first_error or scored.error
            if output:
                output.write(files.encode(record_of(scored, args.profile)))
        if tally.num_partial_groups:
            raise _lacks_rotations(args, tally)
    summaries = {profile: tally.summary(profile) for profile in task.profiles}
    total = matched.total(tally.num_rows)
    metric = "vanilla_accuracy" if args.vanilla else task.metric
    marks = tally.answer_marks()
    if args.json:
        figures = as_json(
            name, task.version, metric, args.profile, summaries, total, reading, marks
        )
        if judge:
            figures["judge"] = {"model": args.judge, **asdict(judge.agreement)}
        print(json.dumps(figures, indent=1))
    else:
        print(f"{name}  {metric}, version {task.version}  {args.predictions} ({matched.format})")
        print(as_text(args.profile, summaries, total, reading, marks))
        if judge:
            print(f"\n{args.judge}: {judge.agreement.text}")
    for word, num_rows in matched.left_out.items():
        print(f"vlmbench: left out: {num_rows:,} rows of {word}, not of {name}", file=sys.stderr)
    if tally.num_rows > total:
        print(
            f"vlmbench: {args.predictions} has {tally.num_rows:,} rows where {name} has {total:,}: "
            "is it another split's, or another version's?",
            file=sys.stderr,
        )
    if tally.failed:
        why = f"; the first: {first_error}" if first_error else ""
        num_asked = tally.num_rows + matched.num_missing
        print(f"vlmbench: {tally.failed:,} of {num_asked:,} samples failed{why}", file=sys.stderr)
    return 1 if tally.failed else 0


def _without_groups(
    pairs: Iterable[tuple[Sample, Prediction]],
) -> Iterator[tuple[Sample, Prediction]]:
    """The pairs with each rotation a sample of its own; a question's rows stay one cluster."""
    for sample, prediction in pairs:
        group = sample.circular_group or sample.image_group
        yield replace(sample, circular_group="", image_group=group), prediction


def _lacks_rotations(args: argparse.Namespace, tally: Tally) -> VlmbenchError:
    return VlmbenchError(
        f"{args.predictions}: {tally.num_partial_groups:,} of {tally.num_groups:,} questions lack "
        "rotations of their options, so that no circular accuracy can be computed; complete the "
        "file, or give --vanilla for the accuracy of its rows"
    )


def _judge_settings(args: argparse.Namespace) -> dict[str, Json]:
    """Raises: VlmbenchError for one without a judge, and for one that is no NAME=VALUE."""
    given = [f"api_key_env={args.judge_key_env}"] if args.judge_key_env else []
    settings: dict[str, Json] = {}
    for pair in (*given, *args.judge_arg):
        name, equals, text = pair.partition("=")
        name = name.replace("-", "_")
        if not (name and equals and text):
            raise VlmbenchError(f"--judge-arg {pair}: write NAME=VALUE, such as concurrency=4")
        if name in settings:
            raise VlmbenchError(f"--judge-arg {pair}: {name} is given twice")
        try:
            settings[name] = json.loads(text)
        except ValueError:
            settings[name] = text
    if settings and not args.judge:
        raise VlmbenchError(f"{', '.join(settings)} is for a judge; name one with --judge")
    return settings


def _judge(
    task: Task, args: argparse.Namespace, settings: Mapping[str, Json], reading: Reading
) -> Judge:
    """Raises: VlmbenchError for a judge that cannot be, or a log that cannot be written."""
    from vlmbench.runs.folder.judge_log import log_file
    from vlmbench.runs.judging import Judge, model_of

    log = log_file(args.out) if args.out else None
    if log and os.path.realpath(log) == os.path.realpath(args.predictions):
        raise VlmbenchError(
            f"{log} are the predictions, and the judge's replies would go there; name another --out"
        )
    return Judge(
        *(task, model_of(args.judge), settings, log),
        reading=reading,
        num_checks=args.judge_check,
    )
