"""The actor of a worker on Ray: a relay between the driver and a process of the worker's own.

So a worker that its GPU's driver aborts takes nobody's word with it: the relay tells the signal and
the last line of stderr, of which Ray knows neither.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from vlmbench.runs.executors.child import Child, End
from vlmbench.runs.executors.worker import parcel_header


class Relay:
    """Its methods run in threads of the actor's, side by side."""

    def __init__(
        self, worker: str, opening: str, environment: Mapping[str, str], folder: str
    ) -> None:
        """`environment`: beside the node's own; `folder`: the driver's, used if it is here too."""
        self._worker, self._opening = worker, opening
        path = os.pathsep.join(place for place in sys.path if place)
        self._environment = {**os.environ, **environment, "PYTHONPATH": path}
        self._folder = folder if Path(folder).is_dir() else None
        self._child: Child | None = None
        self._lock = threading.Lock()

    def messages(self) -> Iterator[bytes | End]:
        """What the worker writes, as it comes, and how it ended; at first an empty message.

        Messages are small, so that Ray hands them to their owner at once: a node that is lost takes
        none along.
        """
        yield b""
        # not before: a child dies with the thread that started it, and this one stays
        self._child = Child(self._worker, self._opening, self._environment, self._folder)
        while content := self._child.read():
            yield content
        yield self._child.buried()

    def tell(self, message: bytes) -> None:
        """Hand the worker a message, however long it takes to read it."""
        assert self._child is not None, "only a worker that has joined is told anything"
        with self._lock:
            self._child.tell(message)
            self._child.flush_all()

    def tell_parcel(self, content: bytes, lease: int, number: int, is_last: bool) -> None:
        self.tell(parcel_header(len(content), lease, number, is_last) + content)
