"""Run a model on tasks, log every answer as it comes, and score them.

A run goes on where it was stopped: give the same command again. For several GPUs use --gpus, or
start it with `accelerate launch` or `torchrun`, on one node or on several that share --out.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vlmbench.cli.arguments import (
    TASKS_DIR,
    categories_or_condition,
    check_processes,
    count,
    cut,
    json_argument,
    model_arguments,
    model_settings,
    names,
    path,
    policy_arguments,
    policy_of,
    profile_argument,
    reading_arguments,
    settings_arguments,
    tasks_argument,
    track_argument,
    where_argument,
)
from vlmbench.data.pictures import PICTURES
from vlmbench.errors import VlmbenchError
from vlmbench.files import opened
from vlmbench.runs.drive import STALL_S
from vlmbench.runs.on_ray import RAY_DATA, OnRay
from vlmbench.schema import Json
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
    parser.add_argument("--limit", type=limit, metavar="N|F", help="the first N, or a share F < 1")
    parser.add_argument("--out", type=path, metavar="DIR", help="run folder (default: runs/MODEL)")
    parser.add_argument("--gpus", type=count(1), metavar="N", help="one worker process a GPU")
    parser.add_argument("--data-dir", type=path, metavar="DIR", help="a local copy of the data set")
    style_argument(parser)
    profile_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    json_argument(parser, help="print scores and costs, or the plan, as JSON")
    selecting_arguments(parser)
    prompt_arguments(parser)
    reading = parser.add_argument_group("how answers are read (asks nothing anew)")
    reading_arguments(reading, "default: the prompt style's, which is none")
    _running_arguments(parser)
    settings_arguments(parser)


def style_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompt-style",
        default="idefics2",
        choices=sorted(STYLES),
        help="how it is asked (default: idefics2)",
    )


def selecting_arguments(parser: argparse.ArgumentParser) -> None:
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
    policy_arguments(which)


def prompt_arguments(parser: argparse.ArgumentParser) -> None:
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
        type=count(1),
        metavar="N",
        help="worker processes on the CPU (default: one, on the device that --device names)",
    )
    how.add_argument(
        "--ray",
        metavar="auto|local|HOST:PORT",
        help="workers of a Ray cluster: N at most, by default one for each of its GPUs, or CPUs",
    )
    how.add_argument(
        "--ray-data",
        choices=RAY_DATA,
        help="each node reads the data, or the driver sends it (default: nodes)",
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
    how.add_argument(
        "--details", action="store_true", help="also print scores by category and by all rules"
    )
    track_argument(how)
    costs = parser.add_argument_group("what it costs")
    alone = costs.add_mutually_exclusive_group()
    alone.add_argument(
        "--latency",
        type=count(1),
        metavar="N",
        help="ask N samples of each task one at a time, for latency (default: as many as take "
        "about a minute, 16 to 64; fewer of a small run)",
    )
    alone.add_argument(
        "--no-latency", dest="latency", action="store_const", const=0, help="measure no latency"
    )
    costs.add_argument(
        "--usd-per-hour",
        type=_price,
        metavar="X",
        help="price of one GPU (or machine, or server), for the price of 1,000 samples",
    )


def run(args: argparse.Namespace) -> int:
    from vlmbench.reports import tracking
    from vlmbench.runs.evaluate import start
    from vlmbench.runs.execute import Limits

    tracker = tracking.parse(args.track) if args.track else None
    on_ray = _on_ray(args)
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
                on_ray=on_ray,
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


def _on_ray(args: argparse.Namespace) -> OnRay | None:
    """Raises: VlmbenchError for flags that do not fit together, before any data are read."""
    most = args.gpus or args.workers
    if args.ray is None:
        if args.ray_data:
            raise VlmbenchError("--ray-data says who reads the data on a cluster: give --ray too")
        if most:
            check_processes(most)
        return None
    return OnRay(address=args.ray, data=args.ray_data or "nodes", most=most)


def _planned(args: argparse.Namespace) -> Plan:
    from vlmbench.runs import ranks

    ranks.rank()  # refuses what no launcher sets before the data are read
    if args.gpus and args.workers:
        raise VlmbenchError("--workers is not allowed with --gpus, which is one worker a GPU")
    return planned_of(
        args,
        num_workers=args.gpus or args.workers or (1 if args.ray is None else None),
        settings=_settings(args),
        out=args.out,
        latency=args.latency,
        usd_per_hour=args.usd_per_hour,
        final_answer=args.final_answer,
        split_think=args.split_think,
    )


def planned_of(
    args: argparse.Namespace,
    *,
    num_workers: int | None,
    settings: Mapping[str, Json] | None = None,
    **of_a_run: Any,
) -> Plan:
    """What the arguments ask for; `settings`: of the model, if not those that were given.

    `of_a_run`: what `prepare` takes beside, of flags that `vlmbench plan` has not.
    """
    from vlmbench.runs.prepare import prepare
    from vlmbench.runs.selection import Selection
    from vlmbench.task.binding import PromptSettings

    return prepare(
        args.model,
        names(args.tasks),
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
        settings=model_settings(args) if settings is None else settings,
        num_workers=num_workers,
        data_dir=args.data_dir,
        tasks_dir=args.tasks_dir,
        policy=policy_of(args),
        **of_a_run,
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
    from vlmbench.reports import run_table

    for task in result.tasks:
        if task.summaries and args.profile not in task.summaries:
            print(
                f"vlmbench: {task.name} has no profile {args.profile!r}; official ones are shown",
                file=sys.stderr,
            )
    if args.json:
        print(json.dumps(run_table.as_json(result, args.profile), indent=1))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(f"{result.title}  {result.folder}\n")
    print(run_table.as_text(result, args.profile, width))
    if args.details:
        print(f"\n{run_table.details(result, args.profile)}")


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


def limit(text: str) -> int | float:
    digits = text.removeprefix("-")
    try:
        if not digits.isdigit():
            return float(text)
        return count(0)(digits) if digits == text else -count(0)(digits)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not 0 <= price < math.inf:
        raise argparse.ArgumentTypeError(f"{cut(text)!r} is no price; write dollars, such as 2.49")
    return price


def _ids(text: str) -> list[str]:
    names = text.split(",")
    if text.startswith("@"):
        if text == "@":
            raise argparse.ArgumentTypeError("@ names no file; write @FILE")
        try:
            with opened(path(text[1:])) as file:
                names = file.read().decode("utf-8-sig").splitlines()
        except VlmbenchError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        except UnicodeDecodeError:
            raise argparse.ArgumentTypeError(
                f"{text[1:]} is not UTF-8 text; save it so, with an id a line"
            ) from None
    ids = [name.strip() for name in names if name.strip()]
    if not ids:
        raise argparse.ArgumentTypeError("it names no sample; leave --ids out to run all")
    return ids
