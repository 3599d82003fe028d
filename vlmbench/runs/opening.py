"""A run's folder taken over: locked, its manifest compared and written."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from msgspec import UNSET, UnsetType

from vlmbench import files
from vlmbench.backends import registry
from vlmbench.errors import VlmbenchError
from vlmbench.files import writing
from vlmbench.runs.folder import layout, provenance
from vlmbench.runs.folder.manifest import (
    DataRecord,
    Manifest,
    changes,
    is_ours,
    read_manifest,
    write_manifest,
)
from vlmbench.runs.folder.responses import ResponseRecord, records
from vlmbench.runs.folder.scores import ScoreRecord
from vlmbench.runs.folder.usage import Session
from vlmbench.runs.job import Plan
from vlmbench.task.binding import BoundTask

T = TypeVar("T")


def refuse_strangers(folder: Path) -> None:
    """A folder is a run's by the run.json that we wrote; else it may hold none of a run's names.

    Raises: VlmbenchError where somebody else's files would be written to, moved or cut.
    """
    if not folder.is_dir():
        return
    with writing(folder, "a run"):
        if found := layout.strangers(folder):
            raise VlmbenchError(
                f"{found[0]} is no file of a run: a link, a pipe, a device or a folder, which a "
                "run never writes to; remove it, or give the run another --out"
            )
        if is_ours(folder):
            return
        if (folder / layout.MANIFEST).exists():
            read_manifest(folder)  # says what is damaged
            raise VlmbenchError(
                f"{folder / layout.MANIFEST} is not vlmbench's; give the run another --out"
            )
        for path in _others(folder):
            raise VlmbenchError(
                f"{path} is not of a run of vlmbench; give the run a folder of its own: --out"
            )


def _others(folder: Path) -> Iterator[Path]:
    """Files under a run's names, in a folder without a run.json, that hold no line of ours."""
    kinds = (
        (layout.RESPONSES, ResponseRecord),
        (layout.USAGE, Session),
        (layout.SCORES, ScoreRecord),
    )
    for name, kind in kinds:
        for path in sorted(folder.glob(name.format("*"))):
            if path.stat().st_size and not _has_line(path, kind):
                yield path


def _has_line(path: Path, kind: type[Any]) -> bool:
    with files.opened(path) as lines:
        for line in lines:
            with suppress(ValueError):
                files.decode_as(line, kind)
                return True
    return False


def move_aside(folder: Path) -> None:
    """Keep an earlier run under another name; nothing that was computed is deleted.

    Files that are not the run's stay where they are.
    """
    refuse_strangers(folder)
    if not (folder / layout.MANIFEST).exists() and not layout.responses_files(folder):
        return
    with writing(folder, "a run"):
        layout.Lock(folder).release()  # not while it is being written
        folder = Path(os.path.realpath(folder))
        target = folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        entries = sorted(folder.iterdir())
        own = [path for path in entries if layout.is_name_of_a_run(path.name)]
        if len(own) == len(entries):
            folder.rename(target)
        else:
            target.mkdir()
            for path in own:
                path.rename(target / path.name)
    print(f"vlmbench: the earlier run is now in {target}", file=sys.stderr)


@contextmanager
def locked(folder: Path, rank: int | None = None) -> Iterator[layout.Lock]:
    """Make the folder and keep other runs out. Raises: VlmbenchError where one is at work."""
    refuse_strangers(folder)
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
        manifest = by_default(planned, manifest, is_new=not has_answers)
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
        single_stream=planned.latency,
        usd_per_hour=planned.usd_per_hour,
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
        single_stream=_given(manifest.single_stream, before.single_stream),
        usd_per_hour=_given(manifest.usd_per_hour, before.usd_per_hour),
    )


def by_default(planned: Plan, manifest: Manifest, *, is_new: bool) -> Manifest:
    """A new run measures latency if nothing was said of it; an old one is left as it was."""
    if is_new and manifest.single_stream is UNSET and registry.takes_time(planned.job.model):
        return replace(manifest, single_stream=None)
    return manifest


def _given(now: T | UnsetType, before: T | UnsetType) -> T | UnsetType:
    return before if now is UNSET else now


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
