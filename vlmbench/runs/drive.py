"""A run's driver: hands samples to an executor's workers, and alone writes what they answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vlmbench.errors import VlmbenchError
from vlmbench.runs.dispatch import MAX_LONE_LOSSES, Dispatcher, Lease
from vlmbench.runs.executors.protocol import (
    Answered,
    Event,
    Executor,
    Finished,
    Joined,
    Lost,
    Measured,
    Mistake,
    Noticed,
    Used,
)
from vlmbench.runs.failures import StopRule
from vlmbench.runs.folder.responses import Log, ResponseRecord, decoded, encoded
from vlmbench.runs.folder.usage import append_usage
from vlmbench.runs.plan import Item
from vlmbench.runs.timing import Timing
from vlmbench.schema import Response

WAIT_S = 0.25
"""Seconds between looks at clock and display while the driver has no event."""

MAX_FRUITLESS_LOSSES = 8
"""Workers lost in a row without one response in between: something is wrong with all of them."""

STALL_S = 1800.0
"""A worker with a lease and without a response for so long hangs."""


@dataclass(slots=True)
class _Leased:
    lease: Lease
    heard: float
    """When the worker last said anything about it, by the monotonic clock."""


@dataclass(slots=True)
class Outcome:
    """How a drive ended."""

    problems: list[str] = field(default_factory=list)
    """Why samples are missing, a line each."""


def drive(
    executor: Executor,
    items: Iterable[Item],
    folder: Path,
    *,
    watch: Callable[[ResponseRecord | None], None] = lambda record: None,
    max_failures: int | None = None,
    stall_s: float = STALL_S,
    timing: Timing | None = None,
) -> Outcome:
    """Have all items answered; whatever happens, no worker outlives this call.

    `watch` gets every response as it is logged, and None now and then. `timing`: what one worker
    is to measure before or after that.

    Raises: VlmbenchError for what the user must mend.
    """
    driver = _Driver(executor, items, folder, watch, max_failures, stall_s, timing)
    is_whole = False
    try:
        driver.run()
        is_whole = driver.dispatcher.is_done
    except OSError as error:
        driver.outcome.problems.append(f"cannot write to {folder}: {error.strerror or error}")
    finally:
        driver.close(is_at_once=not is_whole)
    return driver.outcome


class _Driver:
    def __init__(
        self,
        executor: Executor,
        items: Iterable[Item],
        folder: Path,
        watch: Callable[[ResponseRecord | None], None],
        max_failures: int | None,
        stall_s: float,
        timing: Timing | None,
    ) -> None:
        self._timing = timing
        self.dispatcher = Dispatcher(items)
        self.outcome = Outcome()
        self._executor, self._folder, self._watch = executor, folder, watch
        self._rule, self._stall_s = StopRule(folder, max_failures), stall_s
        self._told: set[str] = set()
        self._logs: dict[str, Log] = {}
        self._leased: dict[str, _Leased] = {}
        self._idle: list[str] = []
        self._fruitless_losses = 0
        self._last_loss = ""

    def run(self) -> None:
        """Until all is answered, or `outcome` has the problem.

        Raises: OSError where the log cannot be written.
        """
        while not (self.dispatcher.is_done and self._is_timed) and not self.outcome.problems:
            events = self._executor.wait(WAIT_S)
            for event in events:
                self._handle(event)
            self._watch(None)
            self._drop_hanging()
            self._give()
            if not (events or self._executor.num_expected or self.outcome.problems):
                if self.dispatcher.is_done:
                    return
                self._give_up(f"no worker is left: {self._last_loss}")

    @property
    def _is_timed(self) -> bool:
        """True if nothing is left to be measured."""
        return self._timing is None or self._timing.is_done

    def close(self, *, is_at_once: bool) -> None:
        try:
            for event in self._executor.close(is_at_once=is_at_once):
                if isinstance(event, Used):
                    append_usage(self._folder, event.worker, event.line)
        except OSError as error:  # the answers are safe; what was used is not told
            print(f"vlmbench: cannot write to {self._folder}: {error.strerror}", file=sys.stderr)
        finally:
            for log in self._logs.values():
                log.close()

    def _handle(self, event: Event) -> None:
        match event:
            case Answered():
                self._answered(event.worker, event.line)
            case Joined():
                self._idle.append(event.worker)
            case Finished():
                self._finished(self._leased.pop(event.worker).lease)
                self._idle.append(event.worker)
            case Measured():
                self._leased[event.worker].heard = time.monotonic()
                assert self._timing is not None
                self._timing.measured(event.line)
            case Used():
                append_usage(self._folder, event.worker, event.line)
            case Noticed():
                self._noticed(event.message)
                if self._timing is not None:
                    self._timing.noticed()
            case Lost():
                self._lost(event)
            case Mistake():
                raise VlmbenchError(event.message)

    def _finished(self, lease: Lease) -> None:
        if lease.timed is None:
            self.dispatcher.finished(lease)
        elif self._timing is not None:
            self._timing.finished()

    def _answered(self, worker: str, line: bytes) -> None:
        record, leased = decoded(line), self._leased.get(worker)
        assert record is not None and leased is not None
        leased.heard = time.monotonic()
        if self.dispatcher.answered(leased.lease, record.task, record.id):
            self._write(worker, line, record)

    def _write(self, worker: str, line: bytes, record: ResponseRecord) -> None:
        if worker not in self._logs:
            self._logs[worker] = Log(self._folder, worker)
        self._logs[worker].write(line)
        self._fruitless_losses = 0
        self._watch(record)
        if problem := self._rule.problem(record.response, record.error):
            self.outcome.problems = [problem]

    def _noticed(self, message: str) -> None:
        """Tell the user once what several workers have found."""
        if message not in self._told:
            self._told.add(message)
            print(f"vlmbench: {message}", file=sys.stderr)

    def _lost(self, event: Lost) -> None:
        self._fruitless_losses += 1
        self._idle = [worker for worker in self._idle if worker != event.worker]
        leased = self._leased.pop(event.worker, None)
        if leased is not None and leased.lease.timed is not None and self._timing is not None:
            self._timing.finished(f"worker {event.worker} died ({event.how})")
            return
        deadly = self.dispatcher.lost(leased.lease) if leased else None
        if deadly is not None:
            self._write_deadly(deadly, event)
        said = f" and said: {event.last_words}" if event.last_words else ""
        self._last_loss = f"the last one died ({event.how}){said}"
        if self._fruitless_losses > MAX_FRUITLESS_LOSSES:
            why = f"{self._fruitless_losses} workers in a row died without an answer"
            self._give_up(f"{why}: {self._last_loss}")
        elif not self.outcome.problems:
            print(
                f"vlmbench: worker {event.worker} died ({event.how}); "
                f"{self.dispatcher.num_left:,} samples left, going on",
                file=sys.stderr,
            )

    def _write_deadly(self, item: Item, event: Lost) -> None:
        """A failed record for a sample that took a worker along each time that it was asked."""
        error = f"RuntimeError: {MAX_LONE_LOSSES} workers died on it alone ({event.how})"
        failed = Response(id=item.id, text=None, finish_reason="error", error=error)
        line = encoded(item.task, item.id, failed, worker=event.worker, time=round(time.time(), 3))
        record = decoded(line)
        assert record is not None
        self._write(event.worker, line, record)

    def _drop_hanging(self) -> None:
        now = time.monotonic()
        for worker, leased in self._leased.items():
            if now - leased.heard > self._stall_s:
                leased.heard = now
                print(
                    f"vlmbench: worker {worker} has not answered for {self._stall_s:,.0f} s; "
                    "it is ended, and its samples are handed out again",
                    file=sys.stderr,
                )
                self._executor.drop(worker)

    def _give(self) -> None:
        timing = self._timing
        if timing is not None and timing.is_due(is_answered=self.dispatcher.is_done):
            if not self._idle or len(self._idle) < self._executor.num_expected:
                return  # others are at work, or load their model
            lease = timing.lease(len(self._idle) - 1, is_fresh=not self._logs)
            if lease is not None:
                self._leased[self._idle[0]] = _Leased(lease, time.monotonic())
                self._executor.give(self._idle.pop(0), lease)
                return
        while self._idle:
            lease = self.dispatcher.lease(max(self._executor.num_expected, 1))
            if lease is None:
                return
            worker = self._idle.pop(0)
            self._leased[worker] = _Leased(lease, time.monotonic())
            self._executor.give(worker, lease)

    def _give_up(self, why: str) -> None:
        self.outcome.problems.append(f"{why}; {self.dispatcher.num_left:,} samples not run")
