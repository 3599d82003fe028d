"""responses-*.jsonl: a line for each attempt at a sample, from which all else can be made again."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from vlmbench import files
from vlmbench.runs.folder import layout
from vlmbench.schema import Response, Timings

COUNTS = ("visual_tokens", "prompt_tokens", "generated_tokens", "flops")
RARE_COUNTS = ("reasoning_tokens", "token_limit")
TIMINGS = tuple(field.name for field in fields(Timings))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRecord:
    """One attempt at a sample, as a line of the log says it.

    Other programs' lines may hold `task`, `id` and `response` alone.
    """

    task: str
    """`TASK@SPLIT`."""

    id: str
    """The sample's."""

    response: str | None
    """None: the attempt failed."""

    finish_reason: str = "unknown"
    """See `schema.Response`."""

    error: str = ""
    attempt: int = 1
    visual_tokens: int | None = None
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    flops: int | float | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    """Fields of `schema.Timings` that the backend could tell, in seconds."""

    images: tuple[str, ...] = ()
    """Digests of the pictures in the order in which they were shown."""

    prompt: str = ""
    """Digest of all that was asked: see `task.binding.prompt_digest`."""

    worker: str = ""
    time: float = 0.0
    """When it was logged, in seconds since 1970."""

    device_s: float | None = None
    """See `schema.Response`; not written where unknown, like those that follow."""

    reasoning: str | UnsetType = UNSET
    """This and what follows: see `schema.Response`."""

    reasoning_tokens: int | UnsetType = UNSET
    token_limit: int | UnsetType = UNSET

    def __post_init__(self) -> None:
        """An absurd figure (10^400, NaN, below 0) is unknown: it costs no answer."""
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and not 0 <= value < files.MOST:
                object.__setattr__(self, name, None)
        for name in RARE_COUNTS:
            value = getattr(self, name)
            if value is not UNSET and not 0 <= value < files.MOST:
                object.__setattr__(self, name, UNSET)
        if not all(map(files.is_figure, self.timings.values())):
            known = {name: value for name, value in self.timings.items() if files.is_figure(value)}
            object.__setattr__(self, "timings", known)
        if not 0 <= self.attempt < files.MOST:
            object.__setattr__(self, "attempt", 1)
        if not 0 <= self.time < files.MOST:
            object.__setattr__(self, "time", 0.0)


def encoded(
    task: str,
    id: str,
    response: Response,
    *,
    prompt: str = "",
    images: tuple[str, ...] = (),
    worker: str,
    time: float,
) -> bytes:
    """The line of a response: the fields of `ResponseRecord`, without timings that are unknown."""
    timings = response.timings
    rare = {
        "device_s": response.device_s,
        "reasoning": response.reasoning or None,
        "reasoning_tokens": response.reasoning_tokens,
        "token_limit": response.token_limit,
    }
    return files.encode(
        {
            "task": task,
            "id": id,
            "response": response.text,
            "finish_reason": response.finish_reason,
            "error": response.error,
            "attempt": response.attempt,
            "visual_tokens": response.visual_tokens,
            "prompt_tokens": response.prompt_tokens,
            "generated_tokens": response.generated_tokens,
            "flops": response.flops,
            "timings": {
                name: value for name in TIMINGS if (value := getattr(timings, name)) is not None
            },
            "images": images,
            "prompt": prompt,
            "worker": worker,
            "time": time,
        }
        | {name: value for name, value in rare.items() if value is not None}
    )


def decoded(line: bytes) -> ResponseRecord | None:
    """The record on a line; None where there is none, or a torn or damaged one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return files.decode_as(line, ResponseRecord)
    except ValueError:
        return _without_wrong_figures(line)


def _without_wrong_figures(line: bytes) -> ResponseRecord | None:
    """The record of a line whose figures have a wrong type, without these; None: it is none."""
    try:
        document = files.decode(line)
        if not isinstance(document, dict) or not document.keys() >= {"task", "id", "response"}:
            return None
        wrong = [
            name
            for name in (*COUNTS, *RARE_COUNTS, "attempt", "time")
            if name in document and not files.is_figure(document[name])
        ]
        wrong += [name for name in COUNTS[:3] if isinstance(document.get(name), float)]
        timings = document.get("timings")
        known = timings.items() if isinstance(timings, dict) else ()
        document["timings"] = {name: value for name, value in known if files.is_figure(value)}
        kept = {name: value for name, value in document.items() if name not in wrong}
        return msgspec.convert(kept, ResponseRecord)
    except ValueError:
        return None


class Log:
    """Appends lines to one worker's file, each complete on disk before the next is asked for.

    A line is one write: a killed process leaves whole lines, a power cut or a full disk at most
    a torn last one, which is cut off when the file is opened again.
    """

    SYNC_S = 1.0
    """A power cut loses at most this much: the file is synced no more often, as a sync takes ms."""

    def __init__(self, folder: Path, worker: str) -> None:
        """Raises: OSError where the file cannot be written, or is a link or a pipe."""
        self._path = layout.responses_file(folder, worker)
        self._fd = files.own_file(self._path, os.O_RDWR | os.O_APPEND)
        size = layout.size_of_whole_lines(self._fd)
        if layout.is_our_torn_line(self._fd, size):
            os.ftruncate(self._fd, size)
        self._size = size
        self._synced = time.monotonic()

    def write(self, lines: bytes) -> None:
        """Append whole lines.

        Raises: OSError where the disk is full; the file then ends after its last whole line.
        """
        if os.fstat(self._fd).st_size != self._size:  # somebody else has written to it
            lines = self._after_a_strangers(lines)
        try:
            written = os.write(self._fd, lines)
            if written < len(lines):  # the disk is full: the rest raises
                os.write(self._fd, lines[written:])
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(lines)
        if time.monotonic() - self._synced > self.SYNC_S:
            os.fsync(self._fd)
            self._synced = time.monotonic()
            if not self.is_there():
                raise OSError(errno.ENOENT, "the log is gone: deleted or moved", str(self._path))

    def is_there(self) -> bool:
        """False once somebody has deleted, moved or replaced the file that is written to."""
        try:
            return os.path.samestat(self._path.lstat(), os.fstat(self._fd))
        except OSError:
            return False

    def _after_a_strangers(self, lines: bytes) -> bytes:
        """The lines, so that they do not go on one that somebody else has not ended."""
        self._size = os.fstat(self._fd).st_size
        is_ended = not self._size or os.pread(self._fd, 1, self._size - 1) == b"\n"
        return lines if is_ended else b"\n" + lines

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)


def records(folder: Path) -> Iterator[ResponseRecord]:
    """All logged attempts, worker by worker; a line that cannot be read counts as never written.

    So a file that a power cut has damaged costs the samples of the damaged lines, which run again.
    """
    for path in layout.responses_files(folder):
        for _, record in _lines(path):
            yield record


def _lines(path: Path) -> Iterator[tuple[int, ResponseRecord]]:
    """The records of a log, each with its place in the file."""
    offset = 0
    with files.opened(path) as file:
        for line in file:
            record = decoded(line)
            if record is not None:
                yield offset, record
            offset += len(line)


class Responses:
    """What counts for each sample: its last answer, else its last failure. Texts stay on disk."""

    def __init__(self, folder: Path) -> None:
        paths = layout.responses_files(folder)
        self._files = [files.opened(path) for path in paths]
        self._places: dict[str, dict[str, int]] = {}
        self._failed: dict[str, set[str]] = {}
        for number, path in enumerate(paths):
            for offset, record in _lines(path):
                self._add(record, offset * len(paths) + number)

    def _add(self, record: ResponseRecord, place: int) -> None:
        places = self._places.setdefault(record.task, {})
        failed = self._failed.setdefault(record.task, set())
        if record.response is not None:
            failed.discard(record.id)
        elif record.id in places and record.id not in failed:
            return
        else:
            failed.add(record.id)
        places[record.id] = place

    def ids(self, task: str) -> list[str]:
        """The samples of a task that were asked, answered or not."""
        return list(self._places.get(task, ()))

    def get(self, task: str, id: str) -> ResponseRecord | None:
        """The sample's record; None: it was not run."""
        place = self._places.get(task, {}).get(id)
        if place is None:
            return None
        offset, number = divmod(place, len(self._files))
        file = self._files[number]
        file.seek(offset)
        return decoded(file.readline())

    def close(self) -> None:
        for file in self._files:
            file.close()


def answered(folder: Path) -> dict[str, set[str]]:
    """Task to the ids that have a response; failed ones are left out, so that they run again."""
    done: dict[str, set[str]] = {}
    for record in records(folder):
        if record.response is not None:
            done.setdefault(record.task, set()).add(record.id)
    return done
