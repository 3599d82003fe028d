"""A whole run: plan, workers, log, scores; the same for `vlmbench run` and for Python callers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vlmbench.backends import registry
from vlmbench.backends.protocol import Backend
from vlmbench.data.pictures import Pictures
from vlmbench.errors import VlmbenchError
from vlmbench.files import writing
from vlmbench.runs import plan, ranks
from vlmbench.runs.executors import local
from vlmbench.runs.folder import layout, provenance
from vlmbench.runs.folder.manifest import changes, read_manifest, write_manifest
from vlmbench.runs.folder.responses import answered, records
from vlmbench.runs.job import Job
from vlmbench.runs.plan import Costs, Item
from vlmbench.runs.progress import Progress
from vlmbench.runs.runner import Runner
from vlmbench.runs.scoring import RunResult, scored
from vlmbench.runs.selection import Selection
from vlmbench.schema import Json
from vlmbench.task.binding import Asking, Source

LATECOMERS_S = 30.0
"""How long a rank that is done waits for one that may try failed samples again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is about to do."""

    sources: Sequence[Source]
    items: Sequence[Item]
    job: Job
    folder: Path
    selection: Selection
    num_workers: int


def prepare(
    model: str,
    tasks: Sequence[str],
    *,
    out: Path | None = None,
    selection: Selection | None = None,
    asking: Asking | None = None,
    settings: Mapping[str, Json] | None = None,
    num_workers: int = 1,
    data_dir: Path | None = None,
    tasks_dir: Path | None = None,
) -> Plan:
    """Read the data and plan; nothing is written and no model is loaded.

    Raises: VlmbenchError for anything that the user can mend.
    """
    if not tasks:
        raise VlmbenchError("no task is named; see vlmbench list")
    asking, settings = asking or Asking(), settings or {}
    selection = selection or Selection()
    registry.check(model, settings)
    ranks.rank()  # refuses what no launcher sets before the data are read
    folder = out or Path("runs") / _slug(model)
    if folder.name in ("", ".."):  # "." would still name the folder that --fresh moves aside
        folder = folder.resolve()
    job = Job(
        folder=str(folder),
        tasks=tasks,
        model=model,
        asking=asking,
        settings=settings,
        data_dir=str(data_dir) if data_dir else None,
        tasks_dir=str(tasks_dir) if tasks_dir else None,
    )
    sources = job.sources()
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise VlmbenchError(f"a task is named twice in {', '.join(names)}")
    items: list[Item] = []
    for source in sources:
        cost = Costs(sees_pictures=registry.sees_pictures(model) and not asking.blind)
        samples = (source.task.read(row) for row in source.rows)
        items += selection.apply(source.name, samples, cost)
    return Plan(
        sources=sources,
        items=items,
        job=job,
        folder=folder,
        selection=selection,
        num_workers=num_workers,
    )


def execute(
    planned: Plan,
    *,
    resume: bool | None = None,
    max_failures: int | None = None,
    use_gpus: bool | None = None,
    backend: Backend | None = None,
    command: Sequence[str] = (),
) -> RunResult:
    """Run what the folder does not have yet, then score all of it.

    `resume`: True demands a run to go on with, False moves an earlier run aside, None goes on
    where there is one. `use_gpus`: True gives each worker one, False none, None leaves the only
    worker what the machine has. With `backend` all runs in this process, on that.

    Raises: VlmbenchError where the folder's run asked something else, or another run writes to it;
    KeyboardInterrupt after everything that was answered is safe.
    """
    folder, rank = planned.folder, ranks.rank()
    if resume is False and rank is not None:
        raise VlmbenchError("--fresh cannot move a folder that several processes start on")
    with writing(folder, "a run"):
        if resume is False:
            _move_aside(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = layout.Lock(folder, rank)
    try:
        manifest = _manifest(planned, resume, command)
        if rank in (None, 0):
            with writing(folder, "a run"):
                write_manifest(folder, manifest)
                if rank is None:  # nobody else writes
                    layout.cut_torn_lines(folder)
        done = answered(folder)
        # under a launcher each rank's share is of all items: what is done changes while it looks
        items = planned.items
        if rank is not None:
            items = plan.assign(items, ranks.world_size())[rank]
        todo = [item for item in items if item.id not in done.get(item.task, ())]
        problems: list[str] = []
        if todo and (backend is not None or rank is not None):
            problems = _run_here(planned, todo, backend, rank or 0, max_failures)
        elif todo:
            problems = _supervise(planned, todo, lock.fds, max_failures, use_gpus)
        if rank is not None and not problems:
            if not todo and _is_closed(planned):
                return RunResult(folder=folder, tasks=(), is_left_to_others=True)
            _await_latecomers(planned, rank)
        return _finished(planned, problems, rank, manifest, lock)
    except KeyboardInterrupt:
        manifest |= {"status": "interrupted", "finished": provenance.now()}
        with suppress(OSError):  # a full disk: the log is what counts
            write_manifest(folder, manifest)
        raise
    finally:
        lock.release()


def _run_here(
    planned: Plan,
    todo: Sequence[Item],
    backend: Backend | None,
    rank: int,
    max_failures: int | None,
) -> list[str]:
    """Run items in this process; what kept it from the end, a line each."""
    used = backend or registry.open_backend(planned.job.model, **planned.job.settings)
    try:
        runner = Runner(planned.sources, used, planned.folder, str(rank))
        with writing(planned.folder, "a run"):
            is_whole = runner.run(plan.assign(todo, 1)[0], max_failures)
    finally:
        if backend is None:
            used.close()
    return [] if is_whole else [_too_many(max_failures)]


def _finished(
    planned: Plan,
    problems: list[str],
    rank: int | None,
    manifest: dict[str, Any],
    lock: layout.Lock,
) -> RunResult:
    """Score what there is and close the manifest; under a launcher the last rank does so."""
    with layout.alone(planned.folder):
        if rank is not None and not problems and _others_report(planned, rank):
            lock.release()  # the next to ask must not find this one at work
            return RunResult(folder=planned.folder, tasks=(), is_left_to_others=True)
        result = scored(planned.folder, planned.sources, planned.items, problems)
        tasks = manifest["tasks"] | {task.name: task.as_manifest() for task in result.tasks}
        is_whole = not any(task.get("num_missing") for task in tasks.values())
        status = "complete" if is_whole else "stopped"
        closed = manifest | {"status": status, "finished": provenance.now(), "tasks": tasks}
        with suppress(OSError):  # a full disk: the log is what counts
            write_manifest(planned.folder, closed)
    return result


def _others_report(planned: Plan, rank: int) -> bool:
    """True where another rank is at work, or samples were never tried: another is to come."""
    return _others_work(planned, rank) or bool(_waiting(planned, since=0.0))


def _await_latecomers(planned: Plan, rank: int) -> None:
    """Wait until another rank is at work, where one may be about to try failed samples again.

    Ranks of one launch begin within seconds of each other. One that comes later still is not
    lost: whoever ends last scores everything.
    """
    launched = provenance.parent_started()
    if launched is None or not _waiting(planned, since=launched):
        return
    deadline = time.monotonic() + LATECOMERS_S
    while time.monotonic() < deadline and not _others_work(planned, rank):
        time.sleep(0.2)


def _others_work(planned: Plan, rank: int) -> bool:
    others = set(range(ranks.world_size())) - {rank}
    return any(layout.is_at_work(planned.folder, other) for other in others)


def _waiting(planned: Plan, *, since: float) -> set[tuple[str, str]]:
    """The samples without an answer or a failure since then."""
    waiting = {(item.task, item.id) for item in planned.items}
    for record in records(planned.folder):
        if record["response"] is not None or record["time"] > since:
            waiting.discard((record["task"], record["id"]))
    return waiting


def _is_closed(planned: Plan) -> bool:
    """True where another process has closed the run."""
    return bool(read_manifest(planned.folder)["status"] == "complete")


def _too_many(max_failures: int | None) -> str:
    return f"stopped: more than {max_failures} samples failed"


def evaluate(
    model: str,
    tasks: str | Sequence[str],
    *,
    out: str | Path | None = None,
    limit: int | float | None = None,
    ids: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    prompt_style: str = "idefics2",
    shots: int = 0,
    blind: bool = False,
    pictures: Pictures = "own",
    ocr: bool = False,
    max_new_tokens: int | None = None,
    seed: int = 0,
    resume: bool | None = None,
    max_failures: int | None = None,
    num_workers: int | None = None,
    use_gpus: bool = False,
    data_dir: str | Path | None = None,
    tasks_dir: str | Path | None = None,
    **settings: Json,
) -> RunResult:
    """`vlmbench run` as a call: the same folder, log, resumption and scores.

    `num_workers`: worker processes; None runs in this process, as a notebook wants it.
    `settings`: those of the backend (batch_size, dtype, split_images, ...).

    Raises: VlmbenchError for what the user can mend.
    """
    planned = prepare(
        model,
        tasks.split(",") if isinstance(tasks, str) else list(tasks),
        out=Path(out) if out else None,
        selection=Selection(limit=limit, ids=ids, where=where or {}),
        asking=Asking(
            style=prompt_style,
            shots=shots,
            blind=blind,
            pictures=pictures,
            ocr=ocr,
            max_new_tokens=max_new_tokens,
            seed=seed,
        ),
        settings=settings,
        num_workers=num_workers or 1,
        data_dir=Path(data_dir) if data_dir else None,
        tasks_dir=Path(tasks_dir) if tasks_dir else None,
    )
    if num_workers is not None:
        return execute(planned, resume=resume, max_failures=max_failures, use_gpus=use_gpus)
    backend = registry.open_backend(model, **settings)
    try:
        return execute(planned, resume=resume, max_failures=max_failures, backend=backend)
    finally:
        backend.close()


def _supervise(
    planned: Plan,
    todo: Sequence[Item],
    lock_fds: Sequence[int],
    max_failures: int | None,
    use_gpus: bool | None,
) -> list[str]:
    counts: dict[str, int] = {}
    for item in todo:
        counts[item.task] = counts.get(item.task, 0) + 1
    progress = Progress(planned.folder, counts)

    def watch() -> bool:
        progress.update()
        return max_failures is not None and progress.failed > max_failures

    shares = plan.assign(todo, planned.num_workers)
    environments = local.environments(planned.num_workers, use_gpus)
    outcome = local.supervise(
        replace(planned.job, is_patient=max_failures is not None),
        shares,
        environments=environments,
        lock_fds=lock_fds,
        seen=progress.seen,
        watch=watch,
    )
    progress.finish()
    if outcome.mistake:
        raise VlmbenchError(outcome.mistake)
    if outcome.stopped_early:
        outcome.problems.append(_too_many(max_failures))
    return outcome.problems


def _manifest(planned: Plan, resume: bool | None, command: Sequence[str]) -> dict[str, Any]:
    """The manifest to write: new, or the folder's own where this run goes on with it."""
    job = planned.job
    identity: dict[str, Any] = {
        "model": registry.identity(job.model, job.settings),
        "generation": registry.generation(job.model, job.settings),
        "prompt": asdict(job.asking),
        "data": {source.name: _data_identity(source) for source in planned.sources},
    }
    manifest = {
        **provenance.environment(command),
        **identity,
        "selection": asdict(planned.selection),
        "num_workers": planned.num_workers,
        "status": "running",
        "started": provenance.now(),
        "finished": None,
        "tasks": {},
    }
    has_answers = any(records(planned.folder))
    if not (planned.folder / layout.MANIFEST).exists():
        if resume and not has_answers:
            raise VlmbenchError(f"{planned.folder} holds no run to resume; leave --resume out")
        if has_answers and not resume and ranks.rank() is None:
            raise VlmbenchError(
                f"{planned.folder} holds answers without a {layout.MANIFEST} that says whose they "
                "are: if they are this very command's, give it --resume; if not, another --out"
            )
        return manifest
    before = read_manifest(planned.folder)
    changed = changes(before, json.loads(json.dumps(manifest)))
    if changed and not has_answers and ranks.rank() is None:
        return manifest  # a start that failed: nobody's answers could be mixed
    if changed:
        raise VlmbenchError(
            f"{planned.folder} holds another run: {'; '.join(changed)}. "
            "Give this one another --out, or start anew with --fresh"
        )
    return manifest | {
        "started": before["started"],
        "data": before["data"] | identity["data"],
        "tasks": before.get("tasks", {}),
    }


def _data_identity(source: Source) -> dict[str, Any]:
    return {
        "version": source.task.version,
        "source": source.rows.source,
        "revision": source.rows.revision,
        "fingerprint": source.rows.fingerprint,
        "num_rows": len(source.rows),
    }


def _slug(model: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in model).strip("-")[:100]


def _move_aside(folder: Path) -> None:
    """Keep an earlier run under another name; nothing that was computed is deleted."""
    if not (folder / layout.MANIFEST).exists() and not any(folder.glob("responses-*.jsonl")):
        return
    layout.Lock(folder).release()  # not while it is being written
    target = folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    folder.rename(target)
    print(f"vlmbench: the earlier run is now in {target}", file=sys.stderr)
