"""A whole run on this machine: what the folder lacks is asked, then all of it is scored."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from vlmbench.backends.protocol import Backend
from vlmbench.files import writing
from vlmbench.runs import plan
from vlmbench.runs.drive import STALL_S, drive
from vlmbench.runs.executors.local import LocalWorkers, environments
from vlmbench.runs.executors.protocol import Executor
from vlmbench.runs.failures import StopRule
from vlmbench.runs.folder import provenance
from vlmbench.runs.folder.finished import FinishedRun
from vlmbench.runs.folder.manifest import Manifest, write_manifest
from vlmbench.runs.folder.responses import Log, answered
from vlmbench.runs.folder.usage import append_usage
from vlmbench.runs.job import Plan
from vlmbench.runs.on_ray import OnRay
from vlmbench.runs.opening import locked, marked_if_interrupted, move_aside, opened
from vlmbench.runs.plan import Item
from vlmbench.runs.progress import Progress
from vlmbench.runs.recorder import Recorder
from vlmbench.runs.runner import Runner, ask
from vlmbench.runs.scoring import scored
from vlmbench.runs.timing import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a run stops early."""

    max_failures: int | None = None
    """More failed samples than this; None: never."""

    stall_s: float = STALL_S
    """A worker without an answer for so long is replaced."""


def execute(
    planned: Plan,
    *,
    resume: bool | None = None,
    limits: Limits | None = None,
    use_gpus: bool | None = None,
    on_ray: OnRay | None = None,
    backend: Backend | None = None,
    command: Sequence[str] = (),
) -> FinishedRun:
    """Run what the folder does not have yet, then score all of it.

    `resume`: True demands a run to go on with, False moves an earlier run aside, None goes on
    where there is one. `use_gpus`: True gives each worker one, False none, None leaves the only
    worker what the machine has. `on_ray`: workers of a cluster instead of this machine's. With
    `backend` all runs in this process, on that.

    Raises: VlmbenchError where the folder's run asked something else, or another run writes to it;
    KeyboardInterrupt after everything that was answered is safe.
    """
    limits = limits or Limits()
    if resume is False:
        move_aside(planned.folder)
    with locked(planned.folder):
        manifest = opened(planned, resume, command)
        with marked_if_interrupted(planned.folder, manifest):
            todo, timing = unanswered(planned, planned.items), _timing(planned, manifest, on_ray)
            problems: list[str] = []
            if backend is not None:
                problems = run_here(planned, todo, backend, "0", limits.max_failures, timing)
            elif todo or timing.is_left():
                problems = _drive(planned, todo, limits, use_gpus, on_ray, timing)
            return closed(planned, manifest, problems)


def _timing(planned: Plan, manifest: Manifest, on_ray: OnRay | None) -> Timing:
    if on_ray is not None and on_ray.data == "driver":
        print(
            "vlmbench: latency is not measured with --ray-data driver, whose nodes have no samples",
            file=sys.stderr,
        )
        return Timing(planned.folder, list, is_first=False)
    return Timing.of(planned, manifest)


def unanswered(planned: Plan, items: Sequence[Item]) -> list[Item]:
    """The items that have no response in the log; failed ones run again."""
    done = answered(planned.folder)
    return [item for item in items if item.id not in done.get(item.task, ())]


def run_here(
    planned: Plan,
    todo: Sequence[Item],
    backend: Backend,
    worker: str,
    max_failures: int | None,
    timing: Timing | None = None,
) -> list[str]:
    """Run items in this process, and measure what `timing` says.

    Why samples are missing, a line each.
    """
    with writing(planned.folder, "a run"):
        if timing is not None and timing.is_first:
            timing.here(planned, backend, worker, is_fresh=True)
        problems = _answer_here(planned, todo, backend, worker, max_failures) if todo else []
        if timing is not None and not problems:
            timing.here(planned, backend, worker, is_fresh=not todo)
    return problems


def _answer_here(
    planned: Plan, todo: Sequence[Item], backend: Backend, worker: str, max_failures: int | None
) -> list[str]:
    [share] = plan.assign(todo, 1)
    rule = StopRule(planned.folder, max_failures)
    log = Log(planned.folder, worker)
    try:
        with Recorder(backend, worker, partial(append_usage, planned.folder, worker)):
            runner = Runner(backend, worker, log.write)
            problem = runner.run(ask(planned.sources, share), rule)
    finally:
        log.close()
    return [problem] if problem else []


def _drive(
    planned: Plan,
    todo: Sequence[Item],
    limits: Limits,
    use_gpus: bool | None,
    on_ray: OnRay | None,
    timing: Timing,
) -> list[str]:
    """Run items on worker processes; why samples are missing, a line each."""
    executor: Executor
    if on_ray is not None:
        executor = on_ray.workers(planned, use_gpus)
    else:
        seen = environments(planned.num_workers or 1, use_gpus)
        executor = LocalWorkers(planned.job, seen[: max(1, len(plan.groups_of(todo)))])
    with Progress(todo) as progress:
        outcome = drive(
            executor,
            todo,
            planned.folder,
            watch=progress.watch,
            max_failures=limits.max_failures,
            stall_s=limits.stall_s,
            timing=timing,
        )
    if outcome.num_losses:
        print(
            f"vlmbench: {outcome.num_losses:,} workers were lost: {outcome.num_given:,} samples "
            f"handed out for {len(todo):,}, {outcome.num_refused:,} answers refused as second ones",
            file=sys.stderr,
        )
    return outcome.problems


def closed(planned: Plan, manifest: Manifest, problems: Sequence[str]) -> FinishedRun:
    """Score what the folder has of the planned items, and write what they came to."""
    tasks = scored(
        planned.folder, planned.sources, planned.items, planned.job.prompt, planned.reading
    )
    every = {**manifest.tasks, **{task.name: task.record for task in tasks}}
    is_whole = not any(record.num_missing for record in every.values())
    manifest = replace(
        manifest,
        status="complete" if is_whole else "stopped",
        finished=provenance.now(),
        tasks=every,
    )
    with suppress(OSError):  # a full disk: the log is what counts
        write_manifest(planned.folder, manifest)
    run = FinishedRun(
        folder=planned.folder,
        manifest=manifest,
        tasks=tasks,
        problems=(*problems, *(problem for task in tasks for problem in task.problems)),
    )
    return replace(run, tasks=tuple(replace(t, usd_per_hour=run.usd_per_hour) for t in tasks))
