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
    TASKS_DIR,
    categories_or_condition,
    count,
    json_argument,
    model_arguments,
    model_settings,
    names,
    path,
    processes,
    profile_argument,
    reading_arguments,
    settings_arguments,
    tasks_argument,
    track_argument,
    where_argument,
)
from vlmbench.data.pictures import PICTURES
from vlmbench.errors import VlmbenchError
from vlmbench.runs.drive import STALL_S
from vlmbench.schema import Json, Profile
from vlmbench.task.styles import STYLES

if TYPE_CHECKING:
    from vlmbench.runs.folder.finished import FinishedRun
    from vlmbench.runs.job import Plan

EXAMPLES = """examples:
  vlmbench run --model idefics2:HuggingFaceM4/idefics2-8b --tasks mmmu --gpus 8
  vlmbench run --model openai:http://localhost:8000#my-model --tasks mmbench

Exit codes: 0 done, 1 some samples failed or were not run, 2 a mistake in the command, 130 stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    tasks_argument(parser, help="see `vlmbench list`; lmms:NAME is lmms-eval's", is_required=True)
    parser.add_argument("--limit", type=_limit, metavar="N|F", help="the first N, or a share F < 1")
    parser.add_argument("--out", type=path, metavar="DIR", help="run folder (default: runs/MODEL)")
    parser.add_argument("--gpus", type=processes, metavar="N", help="one worker process a GPU")
    parser.add_argument("--data-dir", type=path, metavar="DIR", help="a local copy of the data set")
    parser.add_argument(
        "--prompt-style",
        default="idefics2",
        choices=sorted(STYLES),
        help="how it is asked (default: idefics2)",
    )
    profile_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    json_argument(parser, help="print scores, or the plan, as JSON")
    _selecting_arguments(parser)
    _prompt_arguments(parser)
    reading_arguments(
        parser.add_argument_group("how answers are read (another way asks nothing anew)"),
        "default: the prompt style's, which is none",
    )
    _running_arguments(parser)
    settings_arguments(parser)


def _selecting_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_argument_group("which samples (each task by itself)")
    which.add_argument(
        "--ids",
        type=_ids,
        default=(),
        metavar="ID,...|@FILE",
        help="these ids; a file has one a line",
    )
    where_argument(
        which, 'by category: subject=Art, or "level=1 or level=2"; several must all hold'
    )
    which.add_argument("--tasks-dir", type=path, metavar="DIR", help=TASKS_DIR)


def _prompt_arguments(parser: argparse.ArgumentParser) -> None:
    prompt = parser.add_argument_group("how it is asked")
    prompt.add_argument(
        "--shots",
        type=count(0),
        default=0,
        metavar="K",
        help="examples before the question (default: 0)",
    )
    prompt.add_argument(
        "--shots-seed",
        type=count(0),
        default=0,
        metavar="N",
        help="draws the examples (default: 0)",
    )
    shown = prompt.add_mutually_exclusive_group()
    shown.add_argument("--blind", action="store_true", help="show no picture: a control")
    shown.add_argument(
        "--pictures",
        default="own",
        choices=PICTURES,
        help="blank: grey ones of the same sizes; other: another sample's; controls too",
    )
    prompt.add_argument("--ocr", action="store_true", help="give OCR tokens (TextVQA)")
    prompt.add_argument(
        "--max-new-tokens", type=count(1), metavar="N", help="of an answer (default: the task's)"
    )


def _running_arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how it is run")
    how.add_argument(
        "--workers",
        type=processes,
        metavar="N",
        help="worker processes on the CPU (default: one, on the device that --device names)",
    )
    again = how.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="only go on with an earlier run")
    again.add_argument("--fresh", action="store_true", help="set an earlier run aside, start anew")
    how.add_argument(
        "--max-failures", type=count(0), metavar="N", help="stop when more samples than N failed"
    )
    how.add_argument(
        "--stall-timeout",
        type=count(1),
        default=STALL_S,
        metavar="SECONDS",
        help="replace a worker that has not answered for so long (default: 1800)",
    )
    track_argument(how)


def run(args: argparse.Namespace) -> int:
    from vlmbench.reports import tracking
    from vlmbench.runs.evaluate import start
    from vlmbench.runs.execute import Limits

    tracker = tracking.parse(args.track) if args.track else None
    planned = _planned(args)
    if args.dry_run:
        from vlmbench.runs import dry_run

        forecast = dry_run.figures(planned)
        print(json.dumps(forecast, indent=1) if args.json else dry_run.described(forecast))
        return 0
    try:
        with _sigterm_as_ctrl_c():
            result = start(
                planned,
                resume=True if args.resume else False if args.fresh else None,
                limits=Limits(max_failures=args.max_failures, stall_s=args.stall_timeout),
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


def _planned(args: argparse.Namespace) -> Plan:
    from vlmbench.runs import ranks
    from vlmbench.runs.prepare import prepare
    from vlmbench.runs.selection import Selection
    from vlmbench.task.binding import PromptSettings

    ranks.rank()  # refuses what no launcher sets before the data are read
    if args.gpus and args.workers:
        raise VlmbenchError("--workers is not allowed with --gpus, which is one worker a GPU")
    return prepare(
        args.model,
        names(args.tasks),
        out=args.out,
        selection=Selection(
            limit=args.limit, ids=args.ids, where=categories_or_condition(args.where)
        ),
        prompt=PromptSettings(
            style=args.prompt_style,
            shots=args.shots,
            seed=args.shots_seed,
            blind=args.blind,
            pictures=args.pictures,
            ocr=args.ocr,
            max_new_tokens=args.max_new_tokens,
        ),
        settings=_settings(args),
        num_workers=args.gpus or args.workers or 1,
        final_answer=args.final_answer,
        split_think=args.split_think,
        data_dir=args.data_dir,
        tasks_dir=args.tasks_dir,
    )


def _settings(args: argparse.Namespace) -> dict[str, Json]:
    """The settings that were given; with `--gpus`, a worker that finds no GPU says so.

    By itself a backend would take the CPU then, and a run of hours would take weeks.
    """
    from vlmbench.backends import registry

    settings = dict(model_settings(args))
    if args.gpus and registry.uses(args.model, "device"):
        device = str(settings.setdefault("device", "cuda"))
        if not device.startswith("cuda"):
            raise VlmbenchError(f"--gpus and --device {device} contradict each other; give one")
    return settings


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


def _print(result: FinishedRun, args: argparse.Namespace) -> None:
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
                *(task.name, task.version, task.metric, profile, task.summaries),
                *(task.num_selected, task.reading, task.marks),
            )
            text = as_text(profile, task.summaries, task.num_selected, task.reading, task.marks)
        if task.figures:
            figures["figures"] = dict(task.figures)
            own = ", ".join(f"{name} {value:.6g}" for name, value in task.figures.items())
            text += f"\n\nas lmms-eval sums it up: {own}"
        documents.append(figures | {"missing": task.num_missing})
        if not args.json:
            print(f"{task.name}  {task.metric}, version {task.version}  {result.folder}\n{text}\n")
    if args.json:
        print(json.dumps({"run": str(result.folder), "tasks": documents}, indent=1))


def _account(result: FinishedRun) -> None:
    """What became of the run's samples, and why it is not whole, on stderr."""
    from vlmbench.runs.failures import account

    lines = account(result.folder, [task.name for task in result.tasks])
    for line in (*result.problems, *lines):
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
    digits = text.removeprefix("-")
    try:
        if not digits.isdigit():
            return float(text)
        return count(0)(digits) if digits == text else -count(0)(digits)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _ids(text: str) -> list[str]:
    names = text.split(",")
    if text.startswith("@"):
        if text == "@":
            raise argparse.ArgumentTypeError("@ names no file; write @FILE")
        try:
            names = path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            why = error.strerror
            raise argparse.ArgumentTypeError(f"cannot read {text[1:]}: {why}") from None
        except UnicodeDecodeError:
            raise argparse.ArgumentTypeError(
                f"{text[1:]} is not UTF-8 text; save it so, with an id a line"
            ) from None
    ids = [name.strip() for name in names if name.strip()]
    if not ids:
        raise argparse.ArgumentTypeError("it names no sample; leave --ids out to run all")
    return ids
