"""Runs under torchrun, accelerate or SLURM: each rank has a fixed share, and the last one reports.

Ranks share the folder and nothing else: no driver, no collective, so that none can hang another.
What a lost rank leaves is run when the same command is given again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from vlmbench.backends import registry
from vlmbench.backends.protocol import Backend
from vlmbench.errors import VlmbenchError
from vlmbench.files import writing
from vlmbench.runs import plan
from vlmbench.runs.execute import Limits, closed, run_here, unanswered
from vlmbench.runs.folder import layout
from vlmbench.runs.folder.finished import FinishedRun
from vlmbench.runs.folder.manifest import Manifest, read_manifest, write_manifest
from vlmbench.runs.folder.responses import records
from vlmbench.runs.job import Plan
from vlmbench.runs.opening import (
    by_default,
    continued,
    locked,
    marked_if_interrupted,
    new_manifest,
)
from vlmbench.runs.timing import Timing

LATECOMERS_S = 10.0
"""Grace period for other ranks before a run is closed: one may be about to retry failed samples."""


def rank() -> int | None:
    """This process's number; None where it runs alone.

    Raises: VlmbenchError where RANK and WORLD_SIZE do not fit together.
    """
    if "RANK" not in os.environ:
        return None
    number, size = os.environ["RANK"], os.environ.get("WORLD_SIZE", "1")
    are_numbers = re.fullmatch("[0-9]{1,9}", number) and re.fullmatch("[0-9]{1,9}", size)
    if not are_numbers or int(number) >= int(size):
        raise VlmbenchError(
            f"RANK is {number!r} and WORLD_SIZE is {size!r}, where RANK must be a number from 0 "
            "and below WORLD_SIZE; start all processes by a launcher, or unset both"
        )
    return int(number) if int(size) > 1 else None


def world_size() -> int:
    """How many processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def execute(
    planned: Plan,
    *,
    resume: bool | None = None,
    limits: Limits | None = None,
    backend: Backend | None = None,
    command: Sequence[str] = (),
) -> FinishedRun:
    """Run this rank's share; score everything if it is the last to end.

    Raises: as `runs.execute.execute`.
    """
    own, limits, folder = rank(), limits or Limits(), planned.folder
    assert own is not None
    if resume is False:
        raise VlmbenchError("--fresh cannot move a folder that several processes start on")
    with locked(folder, own) as lock:
        manifest = _opened(planned, own, resume, command)
        left_to_others = FinishedRun(
            folder=folder, manifest=manifest, tasks=(), is_left_to_others=True
        )
        with marked_if_interrupted(folder, manifest):
            # of all items, not of those that are left: what is left changes while others look
            todo = unanswered(planned, plan.assign(planned.items, world_size())[own])
            problems: list[str] = []
            if todo:
                used = backend or registry.open_backend(planned.job.model, **planned.job.settings)
                try:
                    problems = run_here(planned, todo, used, str(own), limits.max_failures)
                finally:
                    if backend is None:
                        used.close()
            if not problems:
                if not todo and read_manifest(folder).status == "complete":
                    return left_to_others
                _await_latecomers(planned, own)
            with layout.alone(folder):
                if not problems and _others_report(planned, own):
                    lock.release()  # the next to ask must not find this one at work
                    return left_to_others
                timing = Timing.of(planned, manifest)
                if not problems and not timing.is_first and timing.is_left():
                    _measure(planned, timing, own, backend)
                return closed(planned, manifest, problems)


def _measure(planned: Plan, timing: Timing, own: int, backend: Backend | None) -> None:
    """Measure latency as the last rank: those on other devices have ended.

    The model is loaded once more, as until now nobody knew who would be the last. A server has seen
    all samples by now, and is not measured.
    """
    used = backend or registry.open_backend(planned.job.model, **planned.job.settings)
    try:
        with writing(planned.folder, "a run"):
            timing.here(planned, used, str(own), is_fresh=backend is None)
    finally:
        if backend is None:
            used.close()


def _opened(planned: Plan, own: int, resume: bool | None, command: Sequence[str]) -> Manifest:
    """The manifest that all ranks agree on; the first one writes it."""
    manifest, folder = new_manifest(planned, command), planned.folder
    if (folder / layout.MANIFEST).exists():
        manifest = continued(folder, manifest, may_replace=False)
    elif resume and not any(records(folder)):
        raise VlmbenchError(f"{folder} holds no run to resume; leave --resume out")
    manifest = by_default(planned, manifest, is_new=not any(records(folder)))
    if own == 0:
        with writing(folder, "a run"):
            write_manifest(folder, manifest)
    return manifest


def _others_report(planned: Plan, own: int) -> bool:
    """True if another rank is at work, or is to come since samples were never tried."""
    return _others_work(planned, own) or bool(_untried(planned, since=0.0))


def _await_latecomers(planned: Plan, own: int) -> None:
    """Wait until another rank is at work, where one may be about to try failed samples again.

    Ranks of one launch begin within seconds of each other. One that comes later still is not
    lost: whoever ends last scores everything.
    """
    launched = _parent_started()
    if launched is None or not _untried(planned, since=launched):
        return
    deadline = time.monotonic() + LATECOMERS_S
    while time.monotonic() < deadline and not _others_work(planned, own):
        time.sleep(0.2)


def _others_work(planned: Plan, own: int) -> bool:
    others = set(range(world_size())) - {own}
    return any(layout.is_at_work(planned.folder, other) for other in others)


def _untried(planned: Plan, *, since: float) -> set[tuple[str, str]]:
    """The samples without an answer or a failure since then."""
    untried = {(item.task, item.id) for item in planned.items}
    for record in records(planned.folder):
        if record.response is not None or record.time > since:
            untried.discard((record.task, record.id))
    return untried


def _parent_started() -> float | None:
    """When the process that started this one began, in seconds since 1970.

    Of a launcher that is before any of its processes on this machine logged a sample. None: there
    is no such process, as in a container of its own, or the system does not tell.
    """
    if os.getppid() == 0 or not Path("/proc/stat").exists():
        return None
    stat = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8")
    ticks = int(stat.rpartition(")")[2].split()[19])  # field 22, proc(5)
    for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    raise OSError("/proc/stat has no btime")
