"""Measure how fast a model answers: latency over picture sizes, and where the time goes.

Pictures and questions are made, so that no data set is needed. With --profile the work has the
shapes of the six tasks, and each stage is compared with what the machine can do at most.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vlmbench.cli.arguments import (
    count,
    cut,
    json_argument,
    model_arguments,
    model_settings,
    names,
    settings_arguments,
)
from vlmbench.errors import VlmbenchError, no_such

if TYPE_CHECKING:
    from vlmbench.backends.bench.ceilings import Ceilings
    from vlmbench.backends.bench.latency import Latency
    from vlmbench.backends.bench.profiling import Profile
    from vlmbench.backends.protocol import Backend
    from vlmbench.schema import Probe

EXAMPLES = """examples:
  vlmbench bench --model idefics2:HuggingFaceM4/idefics2-8b --device cuda
  vlmbench bench --model idefics2:tiny --profile --workloads vqav2,docvqa

Measure on a machine that does nothing else.
"""

SIDES = "378,640,980"

MAX_SIDE = 10_000
"""Pixels: a larger picture takes gigabytes to draw."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    parser.add_argument("--profile", action="store_true", help="stages instead of latency")
    json_argument(parser, help="print all figures as JSON")
    work = parser.add_argument_group("what is measured")
    work.add_argument(
        "--sides",
        default=SIDES,
        metavar="N,...",
        help=f"pixels of a side, for latency (default: {SIDES})",
    )
    work.add_argument(
        "--requests", type=count(1), default=16, metavar="N", help="of each kind (default: 16)"
    )
    work.add_argument(
        "--new-tokens",
        type=count(1),
        default=16,
        metavar="N",
        help="of an answer, for latency (default: 16)",
    )
    work.add_argument("--workloads", metavar="TASK,...", help="for --profile (default: all)")
    work.add_argument(
        "--pictures", type=count(1), default=4, metavar="N", help="of a workload (default: 4)"
    )
    settings_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from vlmbench.backends import registry
    from vlmbench.backends.bench import tables

    settings = dict(model_settings(args))
    registry.check(args.model, settings)
    sides, workloads = _sides(args.sides), _workloads(args.workloads)
    can_split = registry.uses(args.model, "split_images") and "split_images" not in settings
    documents: list[dict[str, Any]] = []
    for split in (False, True) if can_split else (None,):
        own = settings | ({} if split is None else {"split_images": split})
        backend = registry.open_backend(args.model, **own)
        try:
            probe = backend.probe()
            ceilings = _ceilings(probe)
            head: dict[str, Any] = {
                **{"model": probe.model, "device": probe.device_name or probe.device},
                **{"dtype": probe.dtype, "split_images": own.get("split_images")},
                "ceilings": asdict(ceilings) if ceilings else None,
            }
            if args.profile:
                found = _profiles(backend, args, own, workloads)
                documents.append(head | {"profiles": [asdict(one) for one in found]})
                text = tables.profile_table(found, ceilings)
            else:
                measured = _latencies(backend, args, sides)
                documents.append(head | {"latencies": [asdict(one) for one in measured]})
                text = tables.latency_table(measured, ceilings)
        finally:
            backend.close()
        if not args.json:
            print(f"{tables.title(probe, split, ceilings)}\n{text}\n")
    if args.json:
        print(json.dumps(documents, indent=1))
    return 0


def _latencies(backend: Backend, args: argparse.Namespace, sides: Sequence[int]) -> list[Latency]:
    from vlmbench.backends.bench import latency

    return [
        latency.measure(
            backend, side, at_once=at_once, number=args.requests, num_new=args.new_tokens
        )
        for side in sides
        for at_once in sorted({1, args.requests})
    ]


def _profiles(
    backend: Any, args: argparse.Namespace, settings: dict[str, Any], workloads: Sequence[str]
) -> list[Profile]:
    from vlmbench.backends import registry
    from vlmbench.backends.bench import profiling

    forecast = registry.forecast(args.model, settings)
    if forecast is None or not hasattr(backend, "profile"):
        raise VlmbenchError(
            f"the backend of {args.model} does not tell its stages: leave --profile out"
        )
    return [profiling.profile(backend, forecast, name, args.pictures) for name in workloads]


def _ceilings(probe: Probe) -> Ceilings | None:
    """None where the model runs elsewhere."""
    if not (probe.device and probe.dtype):
        return None
    from vlmbench.backends.bench import ceilings

    return ceilings.measure(probe.device, probe.dtype)


def _sides(text: str) -> list[int]:
    try:
        sides = [count(1)(part) for part in names(text)]
    except argparse.ArgumentTypeError:
        sides = []
    if not sides or max(sides) > MAX_SIDE:
        raise VlmbenchError(
            f"--sides {cut(text)}: write numbers of pixels up to {MAX_SIDE}, such as {SIDES}"
        )
    return sides


def _workloads(text: str | None) -> list[str]:
    from vlmbench.backends.bench.workloads import ONE_QUESTION, SHAPES

    known = [*SHAPES, ONE_QUESTION]
    wanted = known if text is None else names(text)
    for name in wanted:
        if name not in known:
            raise no_such("workload", name, known)
    return wanted
