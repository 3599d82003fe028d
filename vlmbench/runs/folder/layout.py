"""The files of a run's folder by name, the lock on it, and lines that a crash left torn."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from vlmbench import files
from vlmbench.errors import VlmbenchError

MANIFEST = "run.json"
RESPONSES, SCORES, USAGE = "responses-{}.jsonl", "scores-{}.jsonl", "usage-{}.jsonl"
"""One of responses and usage for each worker, one of scores for each `TASK@SPLIT`."""

SINGLE_STREAM = "single-stream.jsonl"

NAMES = (MANIFEST, SINGLE_STREAM, *(name.format("*") for name in (RESPONSES, SCORES, USAGE)))
"""Patterns of what a run's folder holds, which no result may replace."""


OTHER_NAMES = ("judge-*.jsonl", ".lock*", ".*.partial", ".*.unsorted")
"""Patterns of what else a run makes in its folder."""

LINE_START = re.compile(rb'\{\s*("(t(a(s(k.*)?)?)?)?)?$|\0+$', re.DOTALL)
"""A line of ours, or its beginning; a power cut leaves zeros."""


def responses_file(folder: Path, worker: str) -> Path:
    return folder / RESPONSES.format(worker)


def scores_file(folder: Path, task: str) -> Path:
    return folder / SCORES.format(task)


def usage_file(folder: Path, worker: str) -> Path:
    return folder / USAGE.format(worker)


def responses_files(folder: Path) -> list[Path]:
    """Files of all workers that logged anything, in the order of their names."""
    return sorted(folder.glob(RESPONSES.format("*")))


def usage_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(USAGE.format("*")))


def is_of_a_run(path: Path) -> bool:
    """True if a file is one that a run's folder holds of that run."""
    real = Path(os.path.realpath(path))
    has_name = any(fnmatch(real.name, name) for name in NAMES)
    return has_name and os.access(real.parent / MANIFEST, os.F_OK)


def is_name_of_a_run(name: str) -> bool:
    """True if a run may have made a file of that name in its folder."""
    return any(fnmatch(name, pattern) for pattern in (*NAMES, *OTHER_NAMES))


def strangers(folder: Path) -> list[Path]:
    """What stands in the way of a run: links, pipes and folders under names that it writes to."""
    return [
        path
        for path in sorted(folder.iterdir())
        if any(fnmatch(path.name, pattern) for pattern in (*NAMES, ".lock*"))
        and not stat.S_ISREG(path.lstat().st_mode)
    ]


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
    """True if a process of that rank holds its lock."""
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
        fd = files.own_file(path, os.O_RDWR)
    except OSError as error:
        way_out = "; remove it" if path.is_dir() else ""
        raise VlmbenchError(f"cannot write {path}: {error.strerror}{way_out}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _locked(path: Path, kind: int, wait_s: float) -> int:
    fd = files.own_file(path, os.O_RDWR)
    if re.fullmatch(rb"[0-9]*", os.pread(fd, 64, 0)) is None:
        os.close(fd)
        raise VlmbenchError(f"{path} is no lock of a run; give this run another --out")
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            owner = os.pread(fd, 64, 0).decode(errors="replace").strip()
            if _is_alive(owner) or time.monotonic() > deadline:
                os.close(fd)
                who = f"another run (process {owner})"
                if not _is_alive(owner):
                    who = "a process of an earlier run, or of another machine,"
                raise VlmbenchError(
                    f"{who} is writing to {path.parent}; "
                    "wait for it, or give this one another --out"
                ) from None
            time.sleep(0.1)  # its owner is dead: its workers are about to notice
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def _is_alive(pid: str) -> bool:
    if not (pid.isascii() and pid.isdigit() and 0 < int(pid) < 2**31):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def size_of_whole_lines(fd: int) -> int:
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

    An end that is no beginning of our line is somebody else's, and stays.

    Only for who has locked the folder for itself.
    """
    for path in responses_files(folder):
        with files.opened(path) as file:
            size = size_of_whole_lines(file.fileno())
            is_cut = is_our_torn_line(file.fileno(), size)
        if is_cut:
            os.truncate(path, size)


def is_our_torn_line(fd: int, start: int) -> bool:
    """True if what follows the whole lines is the beginning of a line of ours."""
    return LINE_START.match(os.pread(fd, 64, start)) is not None
