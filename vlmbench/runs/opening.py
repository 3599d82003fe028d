"""A run's folder taken over: locked, its manifest compared and written."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from vlmbench.backends import registry
from vlmbench.errors import VlmbenchError
from vlmbench.files import writing
from vlmbench.runs.folder import layout, provenance
from vlmbench.runs.folder.manifest import (
    DataRecord,
    Manifest,
    changes,
    read_manifest,
    write_manifest,
)
from vlmbench.runs.folder.responses import records
from vlmbench.runs.job import Plan
from vlmbench.task.binding import BoundTask


def move_aside(folder: Path) -> None:
    """Keep an earlier run under another name; nothing that was computed is deleted."""
    if not (folder / layout.MANIFEST).exists() and not layout.responses_files(folder):
        return
    with writing(folder, "a run"):
        layout.Lock(folder).release()  # not while it is being written
        target = folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        folder.rename(target)
    print(f"vlmbench: the earlier run is now in {target}", file=sys.stderr)


@contextmanager
def locked(folder: Path, rank: int | None = None) -> Iterator[layout.Lock]:
    """Make the folder and keep other runs out. Raises: VlmbenchError where one is at work."""
    with writing(folder, "a run"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = layout.Lock(folder, rank)
    try:
        yield lock
    finally:
        lock.release()


def opened(planned: Plan, resume: bool | None, command: Sequence[str]) -> Manifest:
    """The manifest of a run that begins or goes on, written; torn lines of a crash are cut off.

    Raises: VlmbenchError where the folder's answers are another run's, or nobody knows whose.
    """
    manifest, folder = new_manifest(planned, command), planned.folder
    has_answers = any(records(folder))
    if (folder / layout.MANIFEST).exists():
        manifest = continued(folder, manifest, may_replace=not has_answers)
    elif resume and not has_answers:
        raise VlmbenchError(f"{folder} holds no run to resume; leave --resume out")
    elif has_answers and not resume:
        raise VlmbenchError(
            f"{folder} holds answers without a {layout.MANIFEST} that says whose they are: if they "
            "are this very command's, give it --resume; if not, another --out"
        )
    with writing(folder, "a run"):
        write_manifest(folder, manifest)
        layout.cut_torn_lines(folder)
    return manifest


def new_manifest(planned: Plan, command: Sequence[str]) -> Manifest:
    """What a run records of itself before it begins."""
    job = planned.job
    return Manifest(
        **provenance.environment(command),
        model=registry.identity(job.model, job.settings),
        generation=registry.generation(job.model, job.settings),
        prompt=job.prompt,
        data={source.name: data_record(source) for source in planned.sources},
        selection=asdict(planned.selection),
        num_workers=planned.num_workers,
        status="running",
        started=provenance.now(),
        finished=None,
        tasks={},
    )


def continued(folder: Path, manifest: Manifest, *, may_replace: bool) -> Manifest:
    """The new manifest with what the folder's own says of earlier tasks.

    `may_replace`: nobody's answers are there that could be mixed, as after a start that failed.

    Raises: VlmbenchError where the folder's run differs in anything that can move a score.
    """
    before = read_manifest(folder)
    changed = changes(before, manifest)
    if changed and may_replace:
        return manifest
    was, now = before.model.get("spec"), manifest.model.get("spec")
    if was != now and not changed:
        print(f"vlmbench: {folder} was begun as {was}; this is taken for the same", file=sys.stderr)
    if changed:
        raise VlmbenchError(
            f"{folder} holds another run: {'; '.join(changed)}. "
            "Give this one another --out, or start anew with --fresh"
        )
    return replace(
        manifest,
        started=before.started,
        data={**before.data, **manifest.data},
        tasks=before.tasks,
    )


@contextmanager
def marked_if_interrupted(folder: Path, manifest: Manifest) -> Iterator[None]:
    """Say in the manifest that Ctrl-C ended the run."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError):  # a full disk: the log is what counts
            stopped = replace(manifest, status="interrupted", finished=provenance.now())
            write_manifest(folder, stopped)
        raise


def data_record(source: BoundTask) -> DataRecord:
    """The rows of a task as they were read."""
    return DataRecord(
        version=source.task.version,
        source=source.rows.source,
        revision=source.rows.revision,
        fingerprint=source.rows.fingerprint,
        num_rows=len(source.rows),
    )
