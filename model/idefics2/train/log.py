"""The log of a training: one JSON object a line.

{"kind": "train", "stage", "step", "loss", "by_source", "lr", "grad_norm", "tokens_per_s", ...}
{"kind": "evaluation", "stage", "step", "scores"}
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from idefics2.train.devices import Devices


class Log:
    """Appends lines to the log file, and prints them to stderr."""

    def __init__(self, path: Path, *, is_quiet: bool = False) -> None:
        self.path, self.is_quiet = path, is_quiet

    def rewind(self, stages: Iterable[str], stage: str, step: int) -> None:
        """Drops the lines of steps and stages after a checkpoint.

        A last line that a kill cut short is dropped too.
        """
        if not self.path.exists():
            return
        earlier = set(stages)
        kept = []
        for line in self.path.read_text("utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                break
            if record["stage"] in earlier or (record["stage"] == stage and record["step"] <= step):
                kept.append(line + "\n")
        new = self.path.with_suffix(".new")
        new.write_text("".join(kept), "utf-8")
        new.replace(self.path)

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if not self.is_quiet:
            print(_line(record), file=sys.stderr, flush=True)


class Meter:
    """Losses and throughput since the last line of the log."""

    def __init__(self) -> None:
        self._clear()

    def add(self, sources: Iterable[str], sums: Tensor) -> None:
        """Adds a micro-batch's losses; they leave the device only when they are read."""
        self.losses.append((tuple(sources), sums))

    def count(self, tokens: int, examples: int) -> None:
        self.tokens += tokens
        self.examples += examples

    def read(self, devices: Devices) -> dict[str, Any]:
        """Means over all processes since the last reading."""
        sums: dict[str, list[float]] = {}
        for sources, losses in self.losses:
            for source, (loss, weight) in zip(sources, losses.tolist(), strict=True):
                total = sums.setdefault(source, [0.0, 0.0])
                total[0] += loss
                total[1] += weight
        seconds = time.perf_counter() - self.start
        gathered = devices.gather((sums, self.tokens, self.examples))
        by_source: dict[str, list[float]] = {}
        for theirs, _, _ in gathered:
            for source, (loss, weight) in theirs.items():
                total = by_source.setdefault(source, [0.0, 0.0])
                total[0] += loss
                total[1] += weight
        weight = sum(pair[1] for pair in by_source.values())
        record = {
            "loss": sum(pair[0] for pair in by_source.values()) / max(weight, 1e-9),
            "by_source": {
                source: loss / max(weight, 1e-9)
                for source, (loss, weight) in sorted(by_source.items())
            },
            "tokens_per_s": round(sum(item[1] for item in gathered) / seconds, 1),
            "samples_per_s": round(sum(item[2] for item in gathered) / seconds, 2),
            "seconds": round(seconds, 3),
        }
        self._clear()
        return record

    def _clear(self) -> None:
        self.losses: list[tuple[tuple[str, ...], Tensor]] = []
        self.tokens = self.examples = 0
        self.start = time.perf_counter()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _line(record: Mapping[str, Any]) -> str:
    where = f"{record['stage']} {record['step']}"
    if record["kind"] == "evaluation":
        scores = "  ".join(f"{name} {score:.3f}" for name, score in record["scores"].items())
        return f"{where}  {scores}"
    left = (record["num_steps"] - record["step"]) * record["seconds"] / max(1, record["steps"])
    return (
        f"{where}/{record['num_steps']}  loss {record['loss']:.4f}  lr {record['lr']:.2e}  "
        f"grad {record['grad_norm']:.2f}  {record['samples_per_s']:.0f} samples/s  "
        f"{left / 60:.0f} min left"
    )
