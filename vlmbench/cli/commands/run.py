"""Run a model on tasks, log every answer as it comes, and score them.

A run goes on where it was stopped: give the same command again. For several GPUs use --gpus, or
start it with `accelerate launch` or `torchrun`, on one node or on several that share --out.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vlmbench.cli.arguments import (
    count,
    data_arguments,
    model_arguments,
    model_settings,
    path,
    track_argument,
)
from vlmbench.data.pictures import PICTURES
from vlmbench.errors import VlmbenchError
from vlmbench.schema import PROFILES, Profile
from vlmbench.task.styles import STYLES

if TYPE_CHECKING:
    from vlmbench.runs.scoring import RunResult

EXAMPLES = """examples:
  vlmbench run --model idefics2:HuggingFaceM4/idefics2-8b --tasks textvqa,docvqa --gpus 8
  vlmbench run --model openai:http://localhost:8000#my-model --tasks mmbench@dev-en --limit 200

Exit codes: 0 done, 1 some samples failed or were not run, 2 a mistake in the command, 130 stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    parser.add_argument(
        "--tasks",
        required=True,
        metavar="TASK[@SPLIT],...",
        help="see `vlmbench list`; lmms:NAME is lmms-eval's",
    )
    parser.add_argument("--out", type=path, metavar="DIR", help="run folder (default: runs/MODEL)")
    parser.add_argument("--profile", default="official", choices=PROFILES, help="headline's rules")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    track_argument(parser)
    data_arguments(parser)

    which = parser.add_argument_group("which samples (each task by itself)")
    which.add_argument("--limit", type=_limit, metavar="N|F", help="the first N, or a share F < 1")
    which.add_argument(
        "--ids",
        type=_ids,
        default=(),
        metavar="ID,...|@FILE",
        help="these; a file has one a line",
    )
    which.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE", help="subject=Art, ..."
    )

    asking = parser.add_argument_group("how it is asked")
    asking.add_argument("--prompt-style", default="idefics2", choices=sorted(STYLES))
    asking.add_argument("--shots", type=count(0), default=0, metavar="K", help="examples before")
    asking.add_argument("--shots-seed", type=count(0), default=0, metavar="N")
    shown = asking.add_mutually_exclusive_group()
    shown.add_argument("--blind", action="store_true", help="show no picture: a control")
    shown.add_argument(
        "--pictures",
        default="own",
        choices=PICTURES,
        help="blank: grey ones of the same sizes; other: another sample's; controls too",
    )
    asking.add_argument("--ocr", action="store_true", help="give OCR tokens (TextVQA)")
    asking.add_argument("--max-new-tokens", type=count(1), metavar="N")

    where = parser.add_argument_group("where it runs")
    devices = where.add_mutually_exclusive_group()
    devices.add_argument("--gpus", type=count(1), metavar="N", help="one worker process a GPU")
    devices.add_argument(
        "--workers",
        type=count(1),
        metavar="N",
        help="worker processes on the CPU (default: one, on the device that --device names)",
    )
    again = where.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="only go on with an earlier run")
    again.add_argument("--fresh", action="store_true", help="set an earlier run aside, start anew")
    where.add_argument(
        "--max-failures", type=count(0), metavar="N", help="stop when more samples than N failed"
    )


def run(args: argparse.Namespace) -> int:
    from vlmbench.reports import tracking
    from vlmbench.runs import execute
    from vlmbench.runs.selection import Selection
    from vlmbench.task.binding import Asking

    tracker = tracking.parse(args.track) if args.track else None
    planned = execute.prepare(
        args.model,
        [spec.strip() for spec in args.tasks.split(",")],
        out=args.out,
        selection=Selection(limit=args.limit, ids=args.ids, where=_where(args.where)),
        asking=Asking(
            style=args.prompt_style,
            shots=args.shots,
            seed=args.shots_seed,
            blind=args.blind,
            pictures=args.pictures,
            ocr=args.ocr,
            max_new_tokens=args.max_new_tokens,
        ),
        settings=model_settings(args),
        num_workers=args.gpus or args.workers or 1,
        data_dir=args.data_dir,
        tasks_dir=args.tasks_dir,
    )
    if args.dry_run:
        from vlmbench.runs.dry_run import described

        print(described(planned))
        return 0
    try:
        with _sigterm_as_ctrl_c():
            result = execute.execute(
                planned,
                resume=True if args.resume else False if args.fresh else None,
                max_failures=args.max_failures,
                use_gpus=True if args.gpus else False if args.workers else None,
                command=["vlmbench", *sys.argv[1:]],
            )
    except KeyboardInterrupt:
        again = shlex.join(["vlmbench", *(a for a in sys.argv[1:] if a != "--fresh")])
        print(f"vlmbench: stopped; everything answered is in {planned.folder}.", file=sys.stderr)
        print(f"vlmbench: to go on: {again}", file=sys.stderr)
        return 130
    if result.is_left_to_others:
        print("vlmbench: this process is done; another one will report", file=sys.stderr)
        return 0  # a launcher would end the others
    _print(result, args)
    _account(result)
    if tracker is not None:
        tracking.track_run(tracker, result.folder)
    return 1 if result.num_failed or result.num_missing else 0


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """A scheduler's SIGTERM stops the run as Ctrl-C does, and only the run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(result: RunResult, args: argparse.Namespace) -> None:
    from vlmbench.reports.summary import as_json, as_text

    documents: list[dict[str, Any]] = []
    for task in result.tasks:
        profile: Profile = args.profile if args.profile in task.summaries else "official"
        if task.summaries and profile != args.profile:
            print(
                f"vlmbench: {task.name} has no profile {args.profile!r}; official ones are shown",
                file=sys.stderr,
            )
        figures: dict[str, Any] = {"task": task.name, "score": None}
        text = "the answers of this split are not public, so there is no score"
        if task.summaries:
            figures = as_json(
                task.name, task.version, task.metric, profile, task.summaries, task.num_selected
            )
            text = as_text(profile, task.summaries, task.num_selected)
        if task.figures:
            figures["figures"] = dict(task.figures)
            own = ", ".join(f"{name} {value:.6g}" for name, value in task.figures.items())
            text += f"\n\nas lmms-eval sums it up: {own}"
        documents.append(figures | {"missing": task.num_missing})
        if not args.json:
            print(f"{task.name}  {task.metric}, version {task.version}  {result.folder}\n{text}\n")
    if args.json:
        print(json.dumps({"run": str(result.folder), "tasks": documents}, indent=1))


def _account(result: RunResult) -> None:
    """What is to be known of the run's answers, and why it is not whole, on stderr."""
    from vlmbench.runs.failures import account

    for problem in result.problems:
        print(f"vlmbench: {problem}", file=sys.stderr)
    for line in account(result.folder):
        print(f"vlmbench: {line}", file=sys.stderr)
    if result.num_failed:
        print(
            f"vlmbench: {result.num_failed:,} samples failed; their lines in {result.folder}/"
            "responses-*.jsonl say why, and the same command runs them again",
            file=sys.stderr,
        )
    if result.num_missing:
        print(
            f"vlmbench: {result.num_missing:,} samples were not run; the same command goes on",
            file=sys.stderr,
        )


def _limit(text: str) -> int | float:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _ids(text: str) -> list[str]:
    names = text.split(",")
    if text.startswith("@"):
        if text == "@":
            raise argparse.ArgumentTypeError("@ names no file; write @FILE")
        try:
            names = path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise argparse.ArgumentTypeError(f"cannot read {text[1:]}: {error}") from None
    ids = [name.strip() for name in names if name.strip()]
    if not ids:
        raise argparse.ArgumentTypeError("it names no sample; leave --ids out to run all")
    return ids


def _where(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise VlmbenchError(f"--where {pair}: write KEY=VALUE, such as subject=Art")
        found[key] = value
    return found
