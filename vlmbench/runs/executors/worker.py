"""A worker process: loads the model once, then answers lease after lease.

It is started as a module. Its stdin has the job, then a lease a line, and at last END; what comes
out of it are frames: a byte that says what, then a line. It lives no longer than its parent: an end
of stdin without END means that the parent is gone, however it went.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from queue import SimpleQueue

from vlmbench.backends import notices
from vlmbench.backends.registry import open_backend
from vlmbench.data.rows import GC_THRESHOLD
from vlmbench.errors import VlmbenchError
from vlmbench.runs.job import Job, lease_from_json
from vlmbench.runs.recorder import Recorder
from vlmbench.runs.runner import Runner, ask
from vlmbench.runs.stopwatch import Stopwatch, unmeasured

END = "end\n"

JOINED, ANSWERED, MEASURED, FINISHED, USED, NOTICED = b"J", b"A", b"M", b"F", b"U", b"N"
"""First bytes of frames."""

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


def work(job: Job, worker: str, leases: SimpleQueue[str], frames: Frames) -> None:
    """Answer leases until END. Raises: VlmbenchError where data or model cannot be opened."""
    sources = job.sources()
    backend = open_backend(job.model, **job.settings)
    try:
        runner = Runner(backend, worker, frames.answered)
        stopwatch = Stopwatch(backend, sources, worker, frames.measured)
        with Recorder(backend, worker, frames.used) as recorder:
            frames.write(JOINED)
            while (given := leases.get()) != END:
                lease = lease_from_json(given)
                if lease.timed is None:
                    runner.run(ask(sources, lease.items))
                    recorder.mark()
                elif why := stopwatch.run(lease.timed):
                    frames.noticed(unmeasured(lease.timed.task, why))
                frames.write(FINISHED)
    finally:
        backend.close()


def main() -> int:
    gc.set_threshold(GC_THRESHOLD)
    worker, frames = sys.argv[1], Frames()
    notices.hand_to(frames.noticed)
    job = Job.from_json(sys.stdin.readline())
    leases: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_receive, args=(leases,), daemon=True).start()
    try:
        work(job, worker, leases, frames)
    except VlmbenchError as error:
        print(error, file=sys.stderr)
        return EXIT_MISTAKE
    return 0


def _receive(leases: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        leases.put(line)
        if line == END:
            return
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
