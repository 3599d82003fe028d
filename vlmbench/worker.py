"""A worker process: `python -m vlmbench.worker`, started by `workers` with its job on stdin.

It lives no longer than its parent: stdin stays open after the job, and its end means that the
parent is gone, however it went.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlmbench.backends.registry import open_backend
from vlmbench.errors import VlmbenchError
from vlmbench.plan import Item
from vlmbench.rows import GC_THRESHOLD
from vlmbench.runner import Asking, Runner, Source, TaskSource
from vlmbench.schema import Json
from vlmbench.task import LMMS

EXIT_MISTAKE = 2
EXIT_DISK = 3
"""The log cannot be written: no use in a restart."""

EXIT_ORPHANED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker process needs, as JSON: no object of a task or a model crosses over."""

    folder: str
    tasks: Sequence[str]
    model: str
    asking: Asking
    settings: Mapping[str, Json]
    """Fields of `backends.settings.Settings` that were given."""

    data_dir: str | None
    tasks_dir: str | None

    def to_json(self, worker: str, items: Sequence[Item]) -> str:
        """One line of JSON; the worker does not need what only the plan uses of its items."""
        rows = [(item.task, item.index, item.id) for item in items]
        return json.dumps({"job": asdict(self), "worker": worker, "items": rows})

    @staticmethod
    def from_json(text: str) -> tuple[Job, str, list[Item]]:
        document = json.loads(text)
        job = document["job"]
        job |= {"asking": Asking(**job["asking"])}
        items = [
            Item(task=sys.intern(task), index=index, id=id, image_group="", cost=0.0)
            for task, index, id in document["items"]
        ]
        return Job(**job), document["worker"], items

    def sources(self) -> list[Source]:
        folders: Mapping[str, Any] = {
            "data_dir": Path(self.data_dir) if self.data_dir else None,
            "tasks_dir": Path(self.tasks_dir) if self.tasks_dir else None,
        }
        return [self._source(spec, **folders) for spec in self.tasks]

    def _source(self, spec: str, *, data_dir: Path | None, tasks_dir: Path | None) -> Source:
        if spec.startswith(LMMS):
            from vlmbench.lmms.tasks import LmmsSource

            return LmmsSource(spec.removeprefix(LMMS), self.asking, include=tasks_dir)
        return TaskSource(spec, self.asking, data_dir=data_dir, tasks_dir=tasks_dir)


def work(job: Job, worker: str, items: Sequence[Item], sources: Sequence[Source]) -> None:
    """Raises: VlmbenchError where the model cannot be opened; OSError where the disk is full."""
    backend = open_backend(job.model, **job.settings)
    try:
        Runner(sources, backend, Path(job.folder), worker).run(items)
    finally:
        backend.close()


def main() -> int:
    gc.set_threshold(GC_THRESHOLD)
    job, worker, items = Job.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(job, worker, items, job.sources())
    except VlmbenchError as error:
        print(error, file=sys.stderr)
        return EXIT_MISTAKE
    except OSError as error:
        print(f"cannot write to {job.folder}: {error.strerror or error}", file=sys.stderr)
        return EXIT_DISK
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
