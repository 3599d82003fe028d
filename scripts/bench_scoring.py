"""How fast VQAv2's 214,354 predictions are scored, against lmms-eval's scorer on the same rows.

    .venv/bin/pip install --no-deps lmms-eval==0.7.3 loguru
    .venv/bin/python scripts/bench_scoring.py --out results/bench/scoring.json

Two questions. The scorer alone: ours (all profiles, one after the other) and lmms-eval's
`vqav2_process_results` on blocks of the same rows in turn, in this process. The command as a user
runs it, `vlmbench score` with all profiles: rows a second and peak memory, for a tenth of the rows
and for all of them. The rows are made: as many questions, pictures and answers of each type as
VQAv2's validation split has, with ten answers of which most agree.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlmbench.metrics.vqa import VQAV2_PROFILES, vqav2

NUM_ROWS = 214_354
NUM_IMAGES = 40_504
BLOCKS = 5
VOCABULARY = (
    "red blue white black brown green dog cat bus train table kitchen pizza tennis umbrella grass "
    "wood metal frisbee bench phone laptop skateboard giraffe zebra elephant surfboard clouds snow"
)


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Made rows with the hub's columns; the shares of answer types are VQAv2's (38, 13, 49 %)."""
    rng = random.Random(0)
    words = VOCABULARY.split()
    for number in range(count):
        kind = rng.choices(("yes/no", "number", "other"), (38, 13, 49))[0]
        if kind == "yes/no":
            pool = ["yes", "no"]
        elif kind == "number":
            pool = [str(rng.randint(0, 12)) for _ in range(3)]
        else:
            pool = [
                " ".join(rng.choices(words, k=rng.choice((1, 1, 1, 2, 2, 3)))) for _ in range(4)
            ]
        weights = [8, 2, 1, 1][: len(pool)]
        answers = rng.choices(pool, weights, k=10)
        response = rng.choice((pool[0], pool[0], pool[0].capitalize(), f"{pool[0]}.", pool[-1]))
        yield {
            "id": number,
            "response": response,
            "sample": {
                "question_id": number,
                "image_id": number * NUM_IMAGES // NUM_ROWS,
                "question": "What is this?",
                "question_type": "what is this",
                "answer_type": kind,
                "answers": [
                    {"answer": answer, "answer_confidence": "yes", "answer_id": i + 1}
                    for i, answer in enumerate(answers)
                ],
            },
        }


def lmms_scorer() -> Callable[[dict[str, Any], list[str]], Any]:
    """lmms-eval's own function, from its own file, without importing the rest of the package."""
    spec = importlib.util.find_spec("lmms_eval")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("lmms-eval is not installed; the first lines of this file have the command")
    root = Path(spec.submodule_search_locations[0])
    for name in ("lmms_eval", "lmms_eval.tasks", "lmms_eval.tasks._task_utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    file = root / "tasks/vqav2/utils.py"
    spec = importlib.util.spec_from_file_location("lmms_eval.tasks.vqav2.utils", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scorer: Callable[[dict[str, Any], list[str]], Any] = module.vqav2_process_results
    return scorer


def time_scorers(made: list[dict[str, Any]]) -> dict[str, Any]:
    theirs = lmms_scorer()
    size = len(made) // BLOCKS
    rates: dict[str, list[float]] = {"lmms-eval": [], "all profiles": []}
    rates |= {profile: [] for profile in VQAV2_PROFILES}
    for number in range(BLOCKS):
        block = made[number * size : (number + 1) * size]
        docs = copy.deepcopy([row["sample"] for row in block])  # theirs changes them
        start = time.perf_counter()
        for doc, row in zip(docs, block, strict=True):
            theirs(doc, [row["response"]])
        rates["lmms-eval"].append(size / (time.perf_counter() - start))
        texts = [[answer["answer"] for answer in row["sample"]["answers"]] for row in block]
        whole = 0.0
        for profile in VQAV2_PROFILES:
            start = time.perf_counter()
            for row, answers in zip(block, texts, strict=True):
                vqav2(row["response"], answers, profile)
            elapsed = time.perf_counter() - start
            whole += elapsed
            rates[profile].append(size / elapsed)
        rates["all profiles"].append(size / whole)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ratios = {name: medians[name] / medians["lmms-eval"] for name in medians}
    return {"rows_per_s": medians, "times_lmms_eval": ratios, "blocks": BLOCKS, "n": size * BLOCKS}


def time_command(folder: Path, count: int) -> dict[str, Any]:
    path = folder / f"{count}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in rows(count):
            file.write(json.dumps(row) + "\n")
    command = [sys.executable, "-m", "vlmbench", "score", "--tasks", "vqav2"]
    command += ["--predictions", str(path), "--out", str(folder / "scores.jsonl"), "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return {
        "n": count,
        "seconds": elapsed,
        "rows_per_s": count / elapsed,
        "peak_memory_bytes": usage.ru_maxrss * 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--out", type=Path, help="write JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = [time_command(Path(folder), count) for count in (args.rows // 10, args.rows)]
    result = {
        "command": " ".join(["scripts/bench_scoring.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "num_cpus": os.cpu_count(),
        "scorer": time_scorers(list(rows(args.rows))),
        "vlmbench_score": commands,
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
