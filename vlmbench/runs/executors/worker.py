"""A worker process, which `local` starts as a module, with its job on stdin.

It lives no longer than its parent: stdin stays open after the job, and its end means that the
parent is gone, however it went.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from vlmbench.backends.registry import open_backend
from vlmbench.data.rows import GC_THRESHOLD
from vlmbench.errors import VlmbenchError
from vlmbench.runs.job import Job
from vlmbench.runs.plan import Item
from vlmbench.runs.runner import Runner
from vlmbench.task.binding import Source

EXIT_MISTAKE = 2

EXIT_DISK = 3
"""The log cannot be written: no use in a restart."""

EXIT_ORPHANED = 4


def work(job: Job, worker: str, items: Sequence[Item], sources: Sequence[Source]) -> None:
    """Raises: VlmbenchError where the model cannot be opened; OSError where the disk is full."""
    backend = open_backend(job.model, **job.settings)
    try:
        Runner(sources, backend, Path(job.folder), worker).run(items, is_patient=job.is_patient)
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
