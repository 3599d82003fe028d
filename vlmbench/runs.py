"""A run's folder: run.json and responses-*.jsonl, from which all else can be made again."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

from vlmbench import json_lines
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json

SCHEMA_VERSION = 1
MANIFEST = "run.json"
IDENTITY = ("model", "generation", "prompt", "data")
"""Parts of the manifest that must not change between a run and its resumption."""


class Lock:
    """Keeps a second run out of the folder.

    The lock belongs to the open files, so it is gone with the last process that holds them,
    however that process ends. Workers inherit it: a run whose parent was killed is locked until
    its workers have noticed. The processes of a launcher share the folder, and each has its rank.
    """

    def __init__(self, folder: Path, rank: int | None = None, wait_s: float = 10.0) -> None:
        """Raises: VlmbenchError where a living run has the folder."""
        if rank is None:
            self.fds = [_locked(folder / ".lock", fcntl.LOCK_EX, wait_s)]
        else:
            whole = _locked(folder / ".lock", fcntl.LOCK_SH, wait_s)
            self.fds = [whole, _locked(folder / f".lock-{rank}", fcntl.LOCK_EX, wait_s)]

    def release(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def is_at_work(folder: Path, rank: int) -> bool:
    """Whether a process of that rank holds its lock."""
    try:
        fd = os.open(folder / f".lock-{rank}", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time, among those of one run. Raises: VlmbenchError where it cannot lock."""
    path = folder / ".lock-end"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        way_out = "; remove it" if path.is_dir() else ""
        raise VlmbenchError(f"cannot write {path}: {error.strerror}{way_out}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _locked(path: Path, kind: int, wait_s: float) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            owner = os.pread(fd, 64, 0).decode(errors="replace").strip()
            if _is_alive(owner) or time.monotonic() > deadline:
                os.close(fd)
                raise VlmbenchError(
                    f"another run (process {owner or 'unknown'}) is writing to {path.parent}; "
                    "wait for it, or give this one another --out"
                ) from None
            time.sleep(0.1)  # its owner is dead: its workers are about to notice
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Log:
    """Appends responses to one worker's file, each complete on disk before the next is asked for.

    A line is one write: a killed process leaves whole lines, a power cut or a full disk at most
    a torn last one, which is cut off when the file is opened again.
    """

    SYNC_S = 1.0
    """A power cut loses at most this much: the file is synced no more often, as a sync takes ms."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"responses-{worker}.jsonl"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = _whole_lines(self._fd)
        os.ftruncate(self._fd, self._size)
        self._synced = time.monotonic()

    def append(self, record: Mapping[str, Json]) -> None:
        """Raises: OSError where the disk is full; the file then ends after its last whole line."""
        line = json_lines.encode(record)
        try:
            written = os.write(self._fd, line)
            if written < len(line):  # the disk is full: the rest raises
                os.write(self._fd, line[written:])
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)
        if time.monotonic() - self._synced > self.SYNC_S:
            os.fsync(self._fd)
            self._synced = time.monotonic()

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)


def _whole_lines(fd: int) -> int:
    """The file's size up to the end of its last whole line."""
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        block = os.pread(fd, end - start, start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def cut_torn_lines(folder: Path) -> None:
    """Leaves whole lines alone in all logs, also of workers that will not open theirs again.

    Only for who has locked the folder for itself.
    """
    for path in _logs(folder):
        with path.open("rb") as file:
            size = _whole_lines(file.fileno())
        if size < path.stat().st_size:
            os.truncate(path, size)


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """All logged responses, worker by worker; a line that cannot be read counts as never written.

    So a file that a power cut has damaged costs the samples of the damaged lines, which run again.
    """
    for path in _logs(folder):
        for _, record in _lines(path):
            yield record


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("responses-*.jsonl"))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a log, each with its place in the file."""
    offset = 0
    with json_lines.opened(path) as file:
        for line in file:
            record = _record(line)
            if record is not None:
                yield offset, record
            offset += len(line)


UNKNOWN: Mapping[str, Json] = {
    **{"finish_reason": "unknown", "error": "", "prompt": "", "worker": "", "time": 0.0},
    **dict.fromkeys(("visual_tokens", "prompt_tokens", "generated_tokens", "flops")),
    **{"timings": {}, "images": []},
}
"""What a record has where its line does not say: those of other programs hold the answer alone."""

NUMBER = (int, float)
KINDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "id", "finish_reason", "error", "prompt", "worker"), str),
    **dict.fromkeys(("visual_tokens", "prompt_tokens", "generated_tokens"), (*NUMBER, NoneType)),
    **{"response": (str, NoneType), "flops": (*NUMBER, NoneType), "time": NUMBER},
    **{"timings": dict, "images": list},
}


def _record(line: bytes) -> dict[str, Any] | None:
    """The record on a line, which has all of `KINDS`; None: there is none, or a torn one."""
    try:
        value = json_lines.decode(line)
    except ValueError:
        return None
    if not line.endswith(b"\n") or not isinstance(value, dict) or "response" not in value:
        return None
    record = {**UNKNOWN, **value}
    is_whole = all(isinstance(record.get(name), kind) for name, kind in KINDS.items())
    is_timed = is_whole and all(isinstance(took, NUMBER) for took in record["timings"].values())
    return record if is_timed else None


class Responses:
    """What counts for each sample: its last answer, else its last failure. Texts stay on disk."""

    def __init__(self, folder: Path) -> None:
        self._files = [json_lines.opened(path) for path in _logs(folder)]
        self._places: dict[str, dict[str, int]] = {}
        self._failed: dict[str, set[str]] = {}
        for number, path in enumerate(_logs(folder)):
            for offset, record in _lines(path):
                task, id = record["task"], record["id"]
                places = self._places.setdefault(task, {})
                failed = self._failed.setdefault(task, set())
                if record["response"] is not None:
                    failed.discard(id)
                elif id in places and id not in failed:
                    continue
                else:
                    failed.add(id)
                places[id] = offset * len(self._files) + number

    def ids(self, task: str) -> list[str]:
        """The samples of a task that were asked, answered or not."""
        return list(self._places.get(task, ()))

    def get(self, task: str, id: str) -> dict[str, Any] | None:
        """The sample's record; None: it was not run."""
        place = self._places.get(task, {}).get(id)
        if place is None:
            return None
        offset, number = divmod(place, len(self._files))
        file = self._files[number]
        file.seek(offset)
        return _record(file.readline())

    def close(self) -> None:
        for file in self._files:
            file.close()


def answered(folder: Path) -> dict[str, set[str]]:
    """Task to the ids that have a response; failed ones are left out, so that they run again."""
    done: dict[str, set[str]] = {}
    for record in records(folder):
        if record["response"] is not None:
            done.setdefault(record["task"], set()).add(record["id"])
    return done


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises: VlmbenchError where the folder holds no run, or a damaged or later version's one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VlmbenchError(f"{folder} holds no run (no {MANIFEST})") from None
    except OSError as error:
        raise VlmbenchError(f"cannot read {folder / MANIFEST}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise damaged(folder, error) from None
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        found = manifest.get("schema_version") if isinstance(manifest, dict) else None
        raise VlmbenchError(
            f"{folder / MANIFEST} has schema version {found}, this vlmbench reads {SCHEMA_VERSION}"
        )
    for part in (*IDENTITY, "tasks"):
        if not isinstance(manifest.get(part, {}), dict):
            raise damaged(folder, f"{part!r} is no object")
    if isinstance(manifest.get("prompt"), dict):
        manifest["prompt"].setdefault("pictures", "own")  # runs of before 2026-11-23 do not say so
    return manifest


def damaged(folder: Path, why: object) -> VlmbenchError:
    """The error for a run.json that does not say what it should, with the way out."""
    return VlmbenchError(
        f"{folder / MANIFEST} is damaged ({why}); the answers in {folder}/responses-*.jsonl are "
        f"safe: remove {MANIFEST} and give the very same command again, with --resume: it asks "
        "nothing twice; or remove the folder and import again, if it was imported"
    )


def write_manifest(folder: Path, manifest: Mapping[str, Json]) -> None:
    """Replaces run.json as a whole, so that a crash leaves the old one or the new one."""
    partial = folder / f".{MANIFEST}.{os.getpid()}.partial"
    # of a name that is no UTF-8 a lone surrogate is left, which a backslash escapes in JSON too
    with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(manifest, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two manifests in the parts that can move a score, a line each.

    Tasks that only one of them has are no change: a run may be extended.
    """
    found: list[str] = []
    for part in IDENTITY:
        old, new = before.get(part), now.get(part)
        if part == "data" and isinstance(old, Mapping) and isinstance(new, Mapping):
            both = old.keys() & new.keys()
            old, new = {key: old[key] for key in both}, {key: new[key] for key in both}
        found += _changes(part, old, new)
    return found


def _changes(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(old.keys() | new.keys())
        return [
            line for key in keys for line in _changes(f"{name}.{key}", old.get(key), new.get(key))
        ]
    return [] if old == new else [f"{name} was {json.dumps(old)}, is now {json.dumps(new)}"]
