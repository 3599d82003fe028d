"""Arms in processes side by side, one thread each; whatever is finished is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import arm_files, backbones
from .arms import ARMS
from .laboratory import Places

POLL_S = 0.5


class Job(NamedTuple):
    """What one process does: the words of its command, and how to call it."""

    words: tuple[str, ...]
    name: str


def backbone_jobs(places: Places) -> list[Job]:
    """Backbones that are not trained yet."""
    return [
        Job(("backbone", part, strength), f"{part}-{strength}")
        for part, strength in backbones.STEPS
        if not backbones.weights(places.backbones, part, strength).exists()
    ]


def arm_jobs(names: Iterable[str], seeds: Sequence[int], places: Places) -> list[Job]:
    """Arms that are not finished yet: all seeds of a finding's arms before the next finding's."""
    chosen = [ARMS[name] for name in names]
    findings = dict.fromkeys(arm.finding for arm in chosen)
    return [
        Job(("arm", arm.name, str(seed)), f"{arm.name}-{seed}")
        for finding in findings
        for seed in seeds
        for arm in chosen
        if arm.finding == finding and not arm_files.path_of(places.arms, arm.name, seed).exists()
    ]


def run(jobs: Sequence[Job], command: Sequence[str], num_workers: int, until: float) -> list[str]:
    """Runs the jobs in their order and gives the names of those that failed.

    None is begun after the time `until` (of `time.monotonic`); those that run are waited for.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    waiting, running, failed = list(jobs), dict[str, subprocess.Popen[bytes]](), list[str]()
    try:
        while running or (waiting and time.monotonic() < until):
            while waiting and len(running) < num_workers and time.monotonic() < until:
                job = waiting.pop(0)
                print(f"{job.name}: begun, {len(waiting)} waiting", file=sys.stderr, flush=True)
                running[job.name] = subprocess.Popen(
                    [*command, *job.words],
                    env=environment,
                    start_new_session=True,  # Linux shares cores among sessions
                )
            time.sleep(POLL_S)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                if running.pop(name).returncode:
                    failed.append(name)
                    print(f"{name}: failed", file=sys.stderr, flush=True)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return failed
