"""The part of a run in which latency is measured: by one worker, while all others are idle."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import UNSET

from vlmbench.backends import registry
from vlmbench.backends.protocol import Backend
from vlmbench.runs.dispatch import Lease
from vlmbench.runs.folder import single_stream
from vlmbench.runs.folder.manifest import Manifest
from vlmbench.runs.folder.responses import answered
from vlmbench.runs.job import Plan
from vlmbench.runs.plan import Timed
from vlmbench.runs.stopwatch import Stopwatch, timed, unmeasured


class Timing:
    """What is left to be measured of a run."""

    def __init__(
        self, folder: Path, left: Callable[[], Sequence[Timed]], *, is_first: bool
    ) -> None:
        """`left` is called when measuring begins; `is_first`: before any sample is answered."""
        self._folder, self._find = folder, left
        self.is_first = is_first
        self.is_done = False
        self._left: deque[Timed] | None = None
        self._open: Timed | None = None
        self._num_measured = self._num_tasks = 0
        self._is_explained = False

    @staticmethod
    def of(planned: Plan, manifest: Manifest) -> Timing:
        """What a run is to measure, as its manifest says.

        A server is measured first, before it has seen the samples; a local model last, so that
        answers come first, and nothing that goes wrong here can cost them.
        """
        wanted, is_first = manifest.single_stream, registry.remembers(planned.job.model)

        def left() -> list[Timed]:
            if wanted is UNSET or wanted == 0:
                return []
            return timed(
                planned.items,
                single_stream.of_last_place(single_stream.read(planned.folder)),
                answered(planned.folder),
                number=wanted,
                is_first=is_first,
            )

        return Timing(planned.folder, left, is_first=is_first)

    def is_left(self) -> bool:
        """True if there is something to measure, now that every sample is answered."""
        return bool(self._find())

    def is_due(self, *, is_answered: bool) -> bool:
        """True if nothing else is to be handed out now; `is_answered`: every sample is."""
        if self.is_done or not (self.is_first or is_answered):
            return False
        if self._left is None:
            self._left = deque(self._find())
            self._num_tasks = len(self._left)
        self.is_done = not self._left and self._open is None
        return not self.is_done

    def lease(self, num_idle_workers: int, *, is_fresh: bool = False) -> Lease | None:
        """The next thing to measure for the only worker that is at work; None: there is none.

        Only where `is_due` says so.
        """
        if not self._left:
            return None
        self._open, self._num_measured = self._left.popleft(), 0
        self._is_explained = False
        most, number = len(self._open.items), self._num_tasks - len(self._left)
        _tell(
            f"latency, one request at a time: {self._open.task}, up to {most} "
            f"samples (task {number} of {self._num_tasks})"
        )
        if self._open.is_again:
            _tell("the server has seen these samples: what it kept of them makes it faster")
        given = replace(self._open, num_idle_workers=num_idle_workers, is_fresh=is_fresh)
        return Lease(0, (), given)

    def measured(self, line: bytes) -> None:
        """Raises: OSError where the disk is full."""
        single_stream.append(self._folder, line)
        self._num_measured += 1

    def noticed(self) -> None:
        """A worker has told the user something: if it measures nothing now, that is why."""
        self._is_explained = True

    def finished(self, why: str = "") -> None:
        """The worker is done with its lease; `why` it could not be, if that is known."""
        assert self._open is not None
        if why:
            _tell(unmeasured(self._open.task, why))
        elif not (self._num_measured or self._is_explained):
            _tell(f"latency of {self._open.task} was not measured: the worker told no time")
        self._open = None

    def here(self, planned: Plan, backend: Backend, worker: str, *, is_fresh: bool) -> None:
        """Measure all of it in this process."""
        stopwatch = Stopwatch(backend, planned.sources, worker, self.measured)
        while self.is_due(is_answered=True):
            lease = self.lease(0, is_fresh=is_fresh)
            assert lease is not None and lease.timed is not None
            self.finished(stopwatch.run(lease.timed))


def _tell(text: str) -> None:
    print(f"vlmbench: {text}", file=sys.stderr)
