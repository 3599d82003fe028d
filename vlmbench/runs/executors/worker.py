"""A worker process: loads the model once, then answers lease after lease.

It is started as a module. Its stdin has an `Opening`, then a lease a line, and at last END; what
comes out of it are frames: a byte that says what, then a line. Where it has no data, a lease comes
as parcels instead: a line that says how long the parcel is, then that. It lives no longer than its
parent: an end of stdin without END means that the parent is gone, however it went.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import BinaryIO

from vlmbench.backends import notices
from vlmbench.backends.registry import open_backend
from vlmbench.data.rows import GC_THRESHOLD
from vlmbench.errors import VlmbenchError
from vlmbench.runs.executors import parcels
from vlmbench.runs.executors.opening import Opening
from vlmbench.runs.job import lease_from_json
from vlmbench.runs.recorder import Recorder
from vlmbench.runs.runner import Asked, Runner, ask
from vlmbench.runs.stopwatch import Stopwatch, unmeasured

END = b"end\n"

PARCEL = b"parcel"

JOINED, ANSWERED, MEASURED, FINISHED, USED, NOTICED, TAKEN = (
    *(b"J", b"A", b"M", b"F"),
    *(b"U", b"N", b"T"),
)
"""First bytes of frames."""

PR_SET_PDEATHSIG = 1

EXIT_MISTAKE = 2
EXIT_ORPHANED = 4


class Frames:
    """Writes whole frames to what was stdout; what libraries print goes nowhere."""

    def __init__(self) -> None:
        self._fd = os.dup(1)  # no file object: it is to stay open until the process has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        self._lock = threading.Lock()  # a backend may fail requests in a thread of its own

    def answered(self, line: bytes) -> None:
        self.write(ANSWERED, line)

    def measured(self, line: bytes) -> None:
        self.write(MEASURED, line)

    def used(self, line: bytes) -> None:
        self.write(USED, line)

    def noticed(self, message: str) -> None:
        line = " ".join(message.split())  # a line break would end the frame
        self.write(NOTICED, line.encode("utf-8", "backslashreplace") + b"\n")

    def write(self, what: bytes, line: bytes = b"\n") -> None:
        rest = memoryview(what + line)
        with self._lock:
            while rest:
                rest = rest[os.write(self._fd, rest) :]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A part of a lease, with the pictures that it shows."""

    content: bytes
    lease: int
    number: int
    """Its place among the parcels of the lease; 0 is the first."""

    is_last: bool


def parcel_header(size: int, lease: int, number: int, is_last: bool) -> bytes:
    """The line that goes ahead of a parcel's bytes."""
    return b"%s %d %d %d %d\n" % (PARCEL, size, lease, number, is_last)


Inbox = SimpleQueue["bytes | Parcel"]


def work(opening: Opening, worker: str, inbox: Inbox, frames: Frames) -> None:
    """Answer leases until END. Raises: VlmbenchError where data or model cannot be opened."""
    opening.check_code()
    sources = [] if opening.is_sent else opening.sources()
    backend = open_backend(opening.job.model, **opening.job.settings)
    try:
        runner = Runner(backend, worker, frames.answered)
        stopwatch = Stopwatch(backend, sources, worker, frames.measured)
        with Recorder(backend, worker, frames.used) as recorder:
            frames.write(JOINED)
            while (given := inbox.get()) != END:
                if isinstance(given, Parcel):
                    if given.number > 0:
                        continue  # of a finished lease: the backend did not ask for all of it
                    runner.run(_unpacked(given, inbox, frames))
                    recorder.mark()
                    frames.write(FINISHED)
                    continue
                lease = lease_from_json(given.decode())
                if lease.timed is None:
                    runner.run(ask(sources, lease.items))
                    recorder.mark()
                elif why := stopwatch.run(lease.timed):
                    frames.noticed(unmeasured(lease.timed.task, why))
                frames.write(FINISHED)
    finally:
        backend.close()


def _unpacked(first: Parcel, inbox: Inbox, frames: Frames) -> Iterator[Asked]:
    """The questions of a lease that comes in parcels."""
    parcel = first
    while True:
        frames.write(TAKEN)  # so that the next one is sent
        yield from parcels.unpacked(parcel.content)
        if parcel.is_last:
            return
        while True:
            following = inbox.get()
            assert isinstance(following, Parcel)
            if following.lease == first.lease:
                break
        parcel = following


def main() -> int:
    gc.set_threshold(GC_THRESHOLD)
    _die_with_parent()
    worker, frames = sys.argv[1], Frames()
    notices.hand_to(frames.noticed)
    # not sys.stdin, which the interpreter closes at its end: it aborts where a thread reads that
    stdin = open(0, "rb", closefd=False)  # noqa: SIM115 - open to the end
    opening = Opening.from_json(stdin.readline().decode())
    inbox: Inbox = SimpleQueue()
    threading.Thread(target=_receive, args=(stdin, inbox), daemon=True).start()
    try:
        work(opening, worker, inbox, frames)
    except VlmbenchError as error:
        print(error, file=sys.stderr)
        return EXIT_MISTAKE
    return 0


def _die_with_parent() -> None:
    """Also where this process is stopped, and cannot see the end of its stdin."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _receive(stdin: BinaryIO, inbox: Inbox) -> None:
    while line := stdin.readline():
        if line.startswith(PARCEL):
            size, lease, number, is_last = map(int, line.split()[1:])
            inbox.put(Parcel(stdin.read(size), lease, number, bool(is_last)))
            continue
        inbox.put(line)
        if line == END:
            return
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
