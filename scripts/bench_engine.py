"""How fast questions are answered: our engine, and transformers' Idefics2 on the same weights.

    .venv/bin/python scripts/bench_engine.py --json results/bench/engine.json
    .venv/bin/python scripts/bench_engine.py --config 8b --device cuda --json results/bench/8b.json

Three contestants take turns in one process, on the same weights, pictures and questions, which are
made in the shape of the six tasks: the engine; transformers called as lmms-eval 0.7.3 calls it, one
request after the other, with the attention that it asks for (eager, where flash attention is not
installed); transformers with sdpa attention in batches of the size that is best on the workload.
All begin with encoded pictures and end with token ids, of which every answer has as many as its
task's usual one. They have to be equal, and the table says how many are not. Weights are random:
they cost as much as trained ones. On a CPU pictures are smaller than in the tasks, as the model is:
see `random_model.SCALES`.

Needs torch and transformers; neither datasets nor evaluate.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import random_model  # beside this file, as the next two are
import torch
from contestants import OurEngine, Transformers, Turn, attention_of_lmms_eval
from provenance import provenance

import idefics2
from idefics2.engine import EngineStats
from idefics2.flops import Forecast
from vlmbench.backends.bench import ceilings
from vlmbench.backends.bench.workloads import ONE_QUESTION, SHAPES, Question, draw, shape_of
from vlmbench.tables import aligned

BATCH_SIZES = (1, 2, 4, 8, 16)
GOALS = {
    ("vqav2", False): 5.0,
    ("docvqa", True): 6.0,
    ("mmbench", False): 3.0,
    (ONE_QUESTION, True): 1.7,
    (ONE_QUESTION, False): 1.2,
}
"""Times as fast as lmms-eval's loop, on 2 CPU cores."""

ENCODING = ("vision", "connector")

COUNTS = (
    *("num_crops_requested", "num_crops_encoded"),
    *("num_prompt_tokens", "num_prefill_tokens"),
)
"""Of the engine, that are shown with a workload."""

NUM_QUESTIONS = {"8b": 96, "100m": 16, "tiny": 8}
"""About so many for each workload; a quarter of it where pictures are split."""


class Bench:
    """A model in both forms, and the contestants."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        import transformers

        logging: Any = transformers.logging
        logging.set_verbosity_error()
        config = random_model.config_of(args.config)
        scale = args.scale or random_model.SCALES[args.config]
        dtype = getattr(torch, args.dtype or ("bfloat16" if args.device == "cuda" else "float32"))
        self.scale, self.dtype, self._device = scale, dtype, args.device
        self._model = random_model.ours(config, args.device, dtype)
        self._theirs = random_model.theirs(self._model)
        random_model.write_folder(config, folder, scale)
        self._processor = idefics2.Processor.load(folder, config, compat="transformers>=5")
        auto: Any = transformers.AutoProcessor
        self._their_processor = auto.from_pretrained(folder)
        self.ceilings = ceilings.measure(args.device, str(dtype).removeprefix("torch."))
        self.num_parameters = sum(p.numel() for p in self._model.parameters())

    def measure(self, name: str, split: bool, args: argparse.Namespace) -> dict[str, Any]:
        """All contestants on one workload, in turn."""
        questions = self._questions(name, split, args)
        engine = self._engine(split)
        alone = self._transformers(split, 1, attention_of_lmms_eval(self._device))
        batched = self._best(questions, split, args.batch_sizes)
        contestants: list[OurEngine | Transformers] = [engine, alone, batched]
        turns: dict[str, list[Turn]] = {contestant.name: [] for contestant in contestants}
        engine(questions)  # warm-up: a GPU's graphs are captured when they are first needed
        for contestant in contestants[1:]:
            contestant(questions[:2])
        before = copy.deepcopy(engine.engine.stats)
        for repetition in range(args.repetitions):
            order = contestants[repetition % 3 :] + contestants[: repetition % 3]
            for contestant in order:
                turns[contestant.name].append(self._take(contestant, questions))
        stats = engine.engine.stats
        expected = turns[engine.name][0].ids
        num_visual = sum(len(q.pictures) for q in questions) * 64 * (5 if split else 1)
        return {
            **{"workload": name, "split": split, "n": len(questions)},
            "goal": GOALS.get((name, split)),
            "contestants": {
                found: _summary(taken, num_visual, expected) for found, taken in turns.items()
            },
            "ratio": _median_s(turns[alone.name]) / _median_s(turns[engine.name]),
            "ratio_to_batches": _median_s(turns[batched.name]) / _median_s(turns[engine.name]),
            "batch_size": batched.size,
            "work_of_engine": {
                what: getattr(stats, what) - getattr(before, what) for what in COUNTS
            },
            **self._arithmetic(questions, split, before, stats, args.repetitions),
        }

    def _arithmetic(
        self,
        questions: Sequence[Question],
        split: bool,
        before: EngineStats,
        after: EngineStats,
        times: int,
    ) -> dict[str, float]:
        """What the engine computed in so many turns, against what was asked and what can be.

        The share of the memory's rate counts the weights alone, without keys and values.
        """
        forecast = Forecast(self._model.config, replace(self._processor.images, split=split))
        spent = {name: s - before.seconds.get(name, 0.0) for name, s in after.seconds.items()}
        token_flops = forecast.flops([], 1000, 1)["prefill"] / 1000
        decode_flops = forecast.flops([], 1, 2)["decode"]
        encode_flops = {
            picture: sum(forecast.flops([picture.decode().size], 0, 1)[s] for s in ENCODING)
            for question in questions
            for picture in question.pictures
        }
        asked = times * sum(encode_flops[p] for q in questions for p in q.pictures)
        asked += token_flops * (after.num_prompt_tokens - before.num_prompt_tokens)
        done = times * sum(encode_flops.values())
        done += token_flops * (after.num_prefill_tokens - before.num_prefill_tokens)
        decoded = decode_flops * (after.num_decode_tokens - before.num_decode_tokens)
        num_steps = after.num_decode_steps - before.num_decode_steps
        num_bytes = num_steps * decode_flops / 2 * self.dtype.itemsize
        encode_and_prefill_s = spent["encode"] + spent["prefill"]
        return {
            "flops_asked_to_done": (asked + decoded) / (done + decoded),
            "flops_share_of_ceiling": done / encode_and_prefill_s / self.ceilings.flops_per_s,
            "decode_share_of_memory": num_bytes / spent["decode"] / self.ceilings.bytes_per_s,
        }

    def _questions(self, name: str, split: bool, args: argparse.Namespace) -> list[Question]:
        number = args.questions or NUM_QUESTIONS[args.config]
        shape = shape_of(name)
        number = max(number // 4, min(4, number)) if split else number
        each = sum(shape.questions) / len(shape.questions)
        return draw(shape, max(1, round(number / each)), seed=1, scale=self.scale)

    def _take(self, contestant: OurEngine | Transformers, questions: Sequence[Question]) -> Turn:
        if self._device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        turn = contestant(questions)
        if self._device == "cuda":
            turn.peak_memory_bytes = torch.cuda.max_memory_allocated()
        return turn

    def _best(
        self, questions: Sequence[Question], split: bool, sizes: Sequence[int]
    ) -> Transformers:
        """The quickest of the batch sizes, each tried once on part of the workload."""
        rates: dict[int, float] = {}
        for size in sizes:
            part = questions[:16]
            if size > len(part) and rates:
                break  # it would be the same batch again
            batched = self._transformers(split, size)
            try:
                rates[size] = batched(part).seconds / len(part)
            except torch.OutOfMemoryError:
                break
        return self._transformers(split, min(rates, key=lambda size: rates[size]))

    def _engine(self, split: bool) -> OurEngine:
        images = replace(self._processor.images, split=split)
        return OurEngine(self._model, replace(self._processor, images=images))

    def _transformers(self, split: bool, size: int, attention: str = "sdpa") -> Transformers:
        self._their_processor.image_processor.do_image_splitting = split
        bad_ids = [list(ids) for ids in self._processor.bad_ids]
        return Transformers(self._theirs, self._their_processor, bad_ids, size, attention)


def _median_s(turns: Sequence[Turn]) -> float:
    return median(turn.seconds for turn in turns)


def _summary(
    turns: Sequence[Turn], num_visual: int, expected: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    seconds = _median_s(turns)
    return {
        "seconds": [turn.seconds for turn in turns],
        "samples_per_s": len(expected) / seconds,
        "visual_tokens_per_s": num_visual / seconds,
        "first_token_s": median(s for turn in turns for s in turn.first_token_s),
        "token_s": median([s for turn in turns for s in turn.token_s] or [0.0]),
        "peak_memory_bytes": max((t.peak_memory_bytes or 0 for t in turns), default=0) or None,
        "answers_that_differ": sum(
            one != other for one, other in zip(turns[0].ids, expected, strict=True)
        ),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line a workload; all rates are samples a second.

    "FLOPs" is how many times less arithmetic the engine does: what sharing alone can gain.
    """
    header = ["workload", "split", "n", "engine/s", "lmms-eval's loop/s", "ratio", "goal"]
    header += ["FLOPs", "sdpa, batches/s", "size", "ratio", "differ"]
    lines = []
    for row in rows:
        engine, alone, batched = row["contestants"].values()
        differ = alone["answers_that_differ"] + batched["answers_that_differ"]
        goal = "" if row["goal"] is None else f"{row['goal']:g}"
        lines.append(
            [
                *(row["workload"], "on" if row["split"] else "off", str(row["n"])),
                *(f"{each['samples_per_s']:.2f}" for each in (engine, alone)),
                *(f"{row['ratio']:.2f}", goal, f"{row['flops_asked_to_done']:.2f}"),
                f"{batched['samples_per_s']:.2f}",
                *(str(row["batch_size"]), f"{row['ratio_to_batches']:.2f}", str(differ)),
            ]
        )
    return aligned(header, lines, num_left=2)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=("100m", "8b", "tiny"), default="100m")
    parser.add_argument("--random-weights", action="store_true", help="they always are")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--scale", type=float, help="of the sides of pictures and crops")
    parser.add_argument("--workloads", default=",".join([*SHAPES, ONE_QUESTION]))
    parser.add_argument("--splitting", choices=("on", "off", "both"), default="both")
    parser.add_argument("--questions", type=int, help="about so many a workload")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--batch-sizes", type=_sizes, default=BATCH_SIZES)
    parser.add_argument("--minutes", type=float, help="begin no further workload after so long")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args(argv)
    args.workloads = args.workloads.split(",")
    for name in args.workloads:
        if name not in (*SHAPES, ONE_QUESTION):
            parser.error(f"no workload {name!r}; there are {', '.join([*SHAPES, ONE_QUESTION])}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU on this machine")
    return args


def _sizes(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(re.fullmatch("[1-9][0-9]{0,5}", size) for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not as 1,4,16")
    return tuple(map(int, sizes))


def _minutes_since(start: float) -> float:
    return (time.perf_counter() - start) / 60


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    started = time.perf_counter()
    splits = {"on": [True], "off": [False], "both": [False, True]}[args.splitting]
    todo = [(name, split) for split in splits for name in args.workloads]
    todo.sort(key=lambda one: one not in GOALS)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        document: dict[str, Any] = {
            **provenance(),
            "config": args.config,
            "num_parameters": bench.num_parameters,
            "dtype": str(bench.dtype).removeprefix("torch."),
            "scale_of_pictures": bench.scale,
            "ceilings": asdict(bench.ceilings),
            "rows": rows,
        }
        while todo and (args.minutes is None or _minutes_since(started) < args.minutes):
            rows.append(bench.measure(*todo.pop(0), args))
            document["not_measured"] = todo
            print(table(rows[-1:]), file=sys.stderr, flush=True)
            if args.json:
                args.json.parent.mkdir(parents=True, exist_ok=True)
                args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
