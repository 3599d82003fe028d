"""responses-*.jsonl: a line for each attempt at a sample, from which all else can be made again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from vlmbench import files
from vlmbench.runs.folder.layout import _logs, _whole_lines
from vlmbench.schema import Json


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
        line = files.encode(record)
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


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """All logged responses, worker by worker; a line that cannot be read counts as never written.

    So a file that a power cut has damaged costs the samples of the damaged lines, which run again.
    """
    for path in _logs(folder):
        for _, record in _lines(path):
            yield record


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a log, each with its place in the file."""
    offset = 0
    with files.opened(path) as file:
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
        value = files.decode(line)
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
        self._files = [files.opened(path) for path in _logs(folder)]
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
