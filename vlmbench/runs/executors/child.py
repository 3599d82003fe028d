"""A worker process and its pipes, as its parent holds them."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vlmbench.runs.executors import worker as module
from vlmbench.runs.executors.protocol import (
    Answered,
    Event,
    Finished,
    Joined,
    Measured,
    Noticed,
    Used,
)

READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a worker process ended."""

    code: int
    """Its exit code, or the negative number of the signal."""

    last_words: str
    """The last line that it wrote to stderr."""

    @property
    def how(self) -> str:
        return f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


class Child:
    """Starts a worker; telling it something never waits for it, so that a frozen one stalls nobody.

    What does not fit into its pipe is kept here, and goes there with `flush`.
    """

    def __init__(
        self, name: str, opening: str, environment: Mapping[str, str], cwd: str | None = None
    ) -> None:
        """`opening`: an `Opening` as JSON; `environment`: all of the worker's."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the worker has ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", module.__name__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env=environment,
            cwd=cwd,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self.stdin, self.stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self.stdin, False)
        self.pid = self._process.pid
        self._unsent = memoryview(b"")
        self.tell(opening.encode() + b"\n")

    def tell(self, message: bytes) -> None:
        self._unsent = memoryview(self._unsent.tobytes() + message)
        self.flush()

    def flush(self) -> bool:
        """Send what the pipe takes now; True if nothing is left to be sent."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self.stdin, self._unsent) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:  # it died: the end of its stdout tells
            self._unsent = memoryview(b"")
        return True

    def flush_all(self) -> None:
        """Send all, however long that takes; a worker that dies ends the wait."""
        while not self.flush():
            select.select([], [self.stdin], [])

    def read(self) -> bytes:
        """What it wrote, as soon as there is something; empty at its end."""
        return os.read(self.stdout, READ_BYTES)

    def kill(self) -> None:
        self._process.kill()

    def buried(self) -> End:
        """How it ended, once its stdout has."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdout.close()
        code = self._process.wait()  # first: an end of its stdin would have a code of its own
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        self._stderr.close()
        return End(code=code, last_words=lines[-1] if lines else "")


@dataclass(frozen=True, slots=True)
class Taken:
    """A worker has begun with a parcel, and may be sent another: between it and its executor."""

    worker: str


class Reader:
    """Makes events of a worker's frames, however they are cut."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._unread = b""
        """Beginning of a frame whose end is not there yet."""

    def events(self, content: bytes) -> Iterator[Event | Taken]:
        *frames, self._unread = (self._unread + content).split(b"\n")
        for frame in frames:
            yield self._event(frame[:1], frame[1:] + b"\n")

    def _event(self, what: bytes, line: bytes) -> Event | Taken:
        if what == module.ANSWERED:
            return Answered(self._worker, line)
        if what == module.MEASURED:
            return Measured(self._worker, line)
        if what == module.USED:
            return Used(self._worker, line)
        if what == module.NOTICED:
            return Noticed(self._worker, line.decode().rstrip("\n"))
        if what == module.JOINED:
            return Joined(self._worker)
        if what == module.TAKEN:
            return Taken(self._worker)
        assert what == module.FINISHED
        return Finished(self._worker)
