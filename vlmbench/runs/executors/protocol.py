"""What `drive` asks of whatever runs the workers: an executor knows no plan, log or score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vlmbench.runs.dispatch import Lease


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker has loaded its model, and is ready for a lease."""

    worker: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A worker has a response to a sample of its lease."""

    worker: str
    line: bytes
    """An encoded `ResponseRecord`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A worker has measured a request of a lease that is `timed`."""

    worker: str
    line: bytes
    """An encoded `SingleStreamRecord`."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker has nothing left of its lease, and is ready for another."""

    worker: str


@dataclass(frozen=True, slots=True)
class Used:
    """A worker says what it uses."""

    worker: str
    line: bytes
    """An encoded `Session`."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """A worker has something that the user should know, in a line."""

    worker: str
    message: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone; of its lease, only what it answered before is known."""

    worker: str
    how: str
    """"signal 9", "exit code 1", "dropped"."""

    last_words: str = ""
    """The last line that it wrote to stderr."""

    is_with_machine: bool = False
    """True: its machine is gone with it, which says nothing of the worker or of its samples."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A worker found what the user must mend, such as a model that is not there."""

    message: str


Event = Joined | Answered | Measured | Finished | Used | Noticed | Lost | Mistake


class Executor(Protocol):
    """Runs workers, and replaces lost ones as long as that makes sense.

    Names of workers are unique among those that live: `Lost` is the last event of its worker, and
    a replacement that takes over the name joins after it.
    """

    @property
    def num_expected(self) -> int:
        """Workers that are there or soon will be; 0: none will come any more."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What happened, as soon as anything did; nothing after `timeout_s` seconds."""

    def give(self, worker: str, lease: Lease) -> None:
        """Hand a lease to a worker that has none."""

    def drop(self, worker: str) -> None:
        """End a worker that hangs; its `Lost` follows."""

    def close(self, *, is_at_once: bool) -> Sequence[Event]:
        """End all workers and give their last events.

        `is_at_once`: kill them; else let idle workers say what they used.
        """
