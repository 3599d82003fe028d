"""How fast the engine answers in each architecture, against the plain loop over `generate`.

    .venv/bin/python scripts/bench_architectures.py --json results/bench/architectures.json
    .venv/bin/python scripts/bench_architectures.py --config 8b --device cuda

Engine and loop take turns in one process, on the same random weights, pictures and questions, which
are made in the shape of the tasks. Both begin with encoded pictures and end with token ids. These
have to be equal, and the table says how many are not. On a CPU pictures are smaller than in the
tasks, as the model is: see `random_model.SCALES`.

Needs torch; neither transformers nor datasets nor evaluate.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import random_model  # beside this file, as the next two are
import torch
from contestants import OurEngine, PlainLoop, Turn
from provenance import provenance

import idefics2
from idefics2 import Idefics2Config
from vlmbench.backends.bench.workloads import ONE_QUESTION, SHAPES, Question, draw, shape_of
from vlmbench.tables import aligned

GOALS = {("cross-attention", "vqav2"): 4.0}
"""Times as fast as the plain loop, on 2 CPU cores."""


def architectures(config: Idefics2Config) -> dict[str, Idefics2Config]:
    """Variants of a model, by the names that the table has."""
    latents = {
        f"perceiver, {number} latents": replace(
            config, perceiver=replace(config.perceiver, num_latents=number)
        )
        for number in (16, 32, 64, 128)
    }
    return latents | {
        "cross-attention": replace(config, architecture="cross_attention"),
        "linear": replace(config, connector="linear"),
        "mlp": replace(config, connector="mlp"),
    }


def measure(
    name: str,
    config: Idefics2Config,
    workload: str,
    questions: Sequence[Question],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Engine and loop in turn, after a turn of the engine to warm up."""
    dtype = getattr(torch, args.dtype or ("bfloat16" if args.device == "cuda" else "float32"))
    model = random_model.ours(config, args.device, dtype)
    with tempfile.TemporaryDirectory() as folder:
        random_model.write_folder(config, Path(folder), _scale(args))
        processor = idefics2.Processor.load(Path(folder), config, compat="transformers>=5")
    contestants = [OurEngine(model, processor), PlainLoop(model, processor)]
    contestants[0](questions)
    contestants[1](questions[:2])
    turns: list[list[Turn]] = [[], []]
    for repetition in range(args.repetitions):
        for place in (0, 1) if repetition % 2 == 0 else (1, 0):
            turns[place].append(contestants[place](questions))
    seconds = [median(turn.seconds for turn in taken) for taken in turns]
    ids = [taken[0].ids for taken in turns]
    return {
        **{"architecture": name, "workload": workload, "n": len(questions)},
        "goal": GOALS.get((name, workload)),
        "seconds": [[turn.seconds for turn in taken] for taken in turns],
        "samples_per_s": [len(questions) / each for each in seconds],
        "first_token_s": [median(turns[place][0].first_token_s) for place in (0, 1)],
        "ratio": seconds[1] / seconds[0],
        "differ": sum(one != other for one, other in zip(*ids, strict=True)),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line an architecture and workload; rates are samples a second."""
    header = ["architecture", "workload", "n", "engine/s", "loop/s", "ratio", "goal", "differ"]
    lines = [
        [
            *(row["architecture"], row["workload"], str(row["n"])),
            *(f"{rate:.2f}" for rate in row["samples_per_s"]),
            f"{row['ratio']:.2f}",
            "" if row["goal"] is None else f"{row['goal']:g}",
            str(row["differ"]),
        ]
        for row in rows
    ]
    return aligned(header, lines, num_left=2)


def _scale(args: argparse.Namespace) -> float:
    return args.scale or random_model.SCALES[args.config]


def _questions(workload: str, args: argparse.Namespace) -> list[Question]:
    shape = shape_of(workload)
    each = sum(shape.questions) / len(shape.questions)
    return draw(shape, max(1, round(args.questions / each)), seed=1, scale=_scale(args))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=("100m", "8b", "tiny"), default="100m")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--scale", type=float, help="of the sides of pictures and crops")
    parser.add_argument("--architectures", default="", help="some, separated by semicolons")
    parser.add_argument("--workloads", default=f"vqav2,{ONE_QUESTION}")
    parser.add_argument("--questions", type=int, default=24, help="about so many a workload")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args(argv)
    known = architectures(random_model.config_of(args.config))
    names = [name.strip() for name in args.architectures.split(";") if name.strip()] or [*known]
    workloads = args.workloads.split(",")
    for kind, given, there in (
        ("architecture", names, [*known]),
        ("workload", workloads, [*SHAPES, ONE_QUESTION]),
    ):
        if unknown := [name for name in given if name not in there]:
            parser.error(f"no {kind} {unknown[0]!r}; there are {'; '.join(there)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU on this machine")
    if args.threads:
        torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    for workload in workloads:
        questions = _questions(workload, args)
        for name in names:
            rows.append(measure(name, known[name], workload, questions, args))
            print(table(rows[-1:]), file=sys.stderr, flush=True)
            if args.json:
                args.json.parent.mkdir(parents=True, exist_ok=True)
                document = {**provenance(), **{"config": args.config, "rows": rows}}
                args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
