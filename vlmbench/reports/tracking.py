"""Sends scores, costs and training curves to the experiment tracker that `--track` names.

Trackers are accelerate's. One that fails costs a warning, never a run or a training.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmbench import files
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.runs.folder.costs import FIGURES
from vlmbench.runs.folder.finished import FinishedTask, open_run
from vlmbench.runs.folder.manifest import as_builtins
from vlmbench.schema import Json

TRACKERS = {
    "trackio": ("TrackioTracker", "trackio"),
    "wandb": ("WandBTracker", "wandb"),
    "tensorboard": ("TensorBoardTracker", "tensorboard"),
}
"""Trackers by name: accelerate's class and the package to install."""

PROJECT = "vlmbench"
POLL_S = 5.0
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
"""Environment variables that make accelerate wait for other processes."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """A tracker and its project, from `--track NAME[:PROJECT]`."""

    name: str
    project: str
    """The tracker's project; for TensorBoard the folder of its files."""


def parse(spec: str) -> Tracking:
    """Read the value of `--track`.

    Raises: VlmbenchError for an unknown tracker, or one that is not installed.
    """
    name, colon, project = spec.partition(":")
    if name not in TRACKERS:
        raise no_such("tracker", name, TRACKERS, "(--track)")
    if colon and not project:
        raise VlmbenchError(f"no project after the colon in --track {spec}")
    missing = [p for p in ("accelerate", TRACKERS[name][1]) if not importlib.util.find_spec(p)]
    if missing:
        raise VlmbenchError(
            f"--track {name} needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    return Tracking(name, project or PROJECT)


def track_run(tracking: Tracking, folder: Path) -> None:
    """Send the scores and costs of a finished run."""
    with _never_fatal(tracking):
        run = open_run(folder)
        values: dict[str, float] = {}
        for task in run.tasks:
            values |= _scores(task) | _costs(task)
        sent = {"model": run.model, "folder": str(folder)}
        tracker = _open(tracking, folder.name, sent | as_builtins(run.manifest.prompt))
        tracker.log(values, step=0)
        tracker.finish()


@contextmanager
def following(tracking: Tracking | None, log: Path) -> Iterator[None]:
    """Send the lines of a training log as they are written, from a thread, the last at the end.

    For a resumed training the earlier lines are sent too: the tracker gets the whole curve.
    """
    if tracking is None:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(tracking, log, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(tracking: Tracking, log: Path, done: threading.Event) -> None:
    with _never_fatal(tracking):
        tracker, sent = None, set[tuple[str, str, int]]()
        while True:
            is_last = done.wait(POLL_S)
            for step, record in _in_line(log):
                key = (record["kind"], record["stage"], record["step"])
                if key in sent:
                    continue
                # not before there is a line: accelerate is the training's to set up
                tracker = tracker or _open(tracking, log.resolve().parent.name, {"log": str(log)})
                tracker.log(_curves(record), step=step)
                sent.add(key)
            if is_last:
                break
        if tracker is not None:
            tracker.finish()


def _in_line(log: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The log's records, each with its step counted from the start of the first stage."""
    before, last, stage = 0, 0, None
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    for line in lines:
        if not line.endswith("\n"):
            return  # it is being written
        record = json.loads(line)
        if record["stage"] != stage:
            before, stage = last, record["stage"]
        last = before + record["step"]
        yield last, record


def _curves(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a log line; those in mappings get names such as `by_source/vqa`."""
    values = {}
    for name, value in record.items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, number in parts:
            is_number = isinstance(number, int | float) and abs(number) < files.MOST
            if is_number and name != "step":
                values[f"{name}/{key}" if key else name] = float(number)
    return values


def _scores(task: FinishedTask) -> dict[str, float]:
    values: dict[str, float] = {f"{task.name}/failed": task.num_failed}
    for profile, summary in task.summaries.items():
        values[f"{task.name}/{profile}/unparsed"] = summary.unparsed
        if summary.estimate is not None:
            values[f"{task.name}/{profile}/score"] = 100 * summary.estimate.mean
            values[f"{task.name}/{profile}/low"] = 100 * summary.estimate.low
            values[f"{task.name}/{profile}/high"] = 100 * summary.estimate.high
    return values


def _costs(task: FinishedTask) -> dict[str, float]:
    """The known costs by their key, in its unit; of times alone the median, p90 and p99."""
    costs = task.costs
    values: dict[str, float] = {}
    for key, figure in FIGURES.items():
        name, quantiles = f"{task.name}/costs.{key}", figure.quantiles(costs)
        if quantiles is not None:
            spread = {"p50": quantiles.p50, "p90": quantiles.p90, "p99": quantiles.p99}
            values |= {f"{name}.{part}": number for part, number in spread.items()}
        elif (value := figure.value(costs)) is not None:
            values[name] = value
    return values


def _open(tracking: Tracking, run: str, settings: Mapping[str, Json]) -> Any:
    from accelerate import PartialState
    from accelerate import tracking as trackers

    if not PartialState._shared_state:  # a tracker of accelerate refuses to work without
        kept = {name: os.environ.pop(name) for name in LAUNCHER if name in os.environ}
        try:
            PartialState(cpu=True)
        finally:
            os.environ.update(kept)
    kind = getattr(trackers, TRACKERS[tracking.name][0])
    if tracking.name == "tensorboard":
        tracker = kind(run, tracking.project)
    else:
        tracker = kind(tracking.project, name=run)
    tracker.start()
    known = {k: v for k, v in settings.items() if isinstance(v, bool | int | float | str)}
    tracker.store_init_configuration(known)
    return tracker


@contextmanager
def _never_fatal(tracking: Tracking) -> Iterator[None]:
    """Turns any error of a tracker into a warning: the results are on disk already."""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        print(
            f"vlmbench: warning: {tracking.name} failed ({type(error).__name__}: {reason}); "
            "nothing else is affected",
            file=sys.stderr,
        )
