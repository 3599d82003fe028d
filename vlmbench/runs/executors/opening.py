"""A worker's first line: what it is to do, and what must be there as it is at the driver."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import vlmbench
from vlmbench.errors import VlmbenchError
from vlmbench.runs.job import Job
from vlmbench.task import loading
from vlmbench.task.binding import BoundTask

MAX_TASK_FILES_BYTES = 4 << 20
"""Task files that travel to workers, in all; what is larger is no folder of task files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A worker's job, and for one on another machine what it must find there."""

    job: Job
    is_sent: bool = False
    """True: requests come with their pictures, and the data are not opened where the worker is."""

    code: str = ""
    """The driver's `code_digest`; empty: not compared."""

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """`TASK@SPLIT` to the `fingerprint` of its rows at the driver; those not named may be any."""

    task_files: Mapping[str, str] = field(default_factory=dict)
    """Files of the job's `tasks_dir`, by their path in it, for a machine that does not have it."""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Opening:
        found = json.loads(text)
        return Opening(**found | {"job": Job.from_json(json.dumps(found["job"]))})

    def check_code(self) -> None:
        """Raises: VlmbenchError where another version answers than the one that scores."""
        if self.code and self.code != code_digest():
            raise VlmbenchError(
                f"the vlmbench {vlmbench.__version__} that is installed here is not the driver's; "
                "install the same version or commit on each machine"
            )

    def sources(self) -> list[BoundTask]:
        """The job's tasks with their rows on this machine.

        Raises: VlmbenchError where they cannot be read, or are not the driver's.
        """
        job = self.job
        if self.task_files:
            job = replace(job, tasks_dir=_written(self.task_files))
        sources = job.sources()
        for source in sources:
            wanted = self.fingerprints.get(source.name, source.rows.fingerprint)
            if source.rows.fingerprint != wanted:
                raise VlmbenchError(
                    f"the rows of {source.name} are not the driver's: their fingerprint here is "
                    f"{source.rows.fingerprint}, there {wanted} (read from {source.rows.source}); "
                    "put the same files there, or let the driver send them: --ray-data driver"
                )
        return sources


def task_files(folder: Path) -> dict[str, str]:
    """The task files of a folder, to travel with an opening.

    Raises: VlmbenchError where the folder has far more than task files, or cannot be read.
    """
    found: dict[str, str] = {}
    size = 0
    try:
        for path in sorted(folder.rglob("*")):
            if path.suffix not in (".py", ".yaml", ".yml") or not path.is_file():
                continue
            found[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8")
            size += path.stat().st_size
            if size > MAX_TASK_FILES_BYTES:
                raise VlmbenchError(
                    f"{folder} has more than {MAX_TASK_FILES_BYTES >> 20} MiB of task files, too "
                    "much to send to workers; put those of the run into a folder of their own"
                )
    except (OSError, UnicodeDecodeError) as error:
        raise VlmbenchError(f"cannot read the task files of {folder}: {error}") from None
    return found


def _written(files: Mapping[str, str]) -> str:
    """A new folder with the files; it is gone with this process."""
    folder = Path(tempfile.mkdtemp(prefix="vlmbench-tasks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return str(folder)


@cache
def code_digest() -> str:
    """Equal where harness, model and built-in tasks are: two commits may not answer alike."""
    digest = hashlib.blake2b(digest_size=16)
    for folder in _folders_of_code():
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\n")
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _folders_of_code() -> Iterator[Path]:
    yield Path(vlmbench.__file__).parent
    yield loading.BUILT_IN
    model = importlib.util.find_spec("idefics2")
    if model is not None and model.origin:
        yield Path(model.origin).parent
