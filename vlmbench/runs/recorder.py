"""What a worker's process uses while it answers: time, memory, energy and work."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from msgspec import UNSET

from vlmbench import files
from vlmbench.backends.protocol import Backend
from vlmbench.runs.energy import Meter
from vlmbench.runs.folder.usage import Session

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Recorder:
    """Gives out the lines of a session around a `with` block: when it begins, and what it used.

    The latter comes at each `mark`; without any, at the end of the block, if nothing is raised.
    """

    def __init__(self, backend: Backend, worker: str, write: Callable[[bytes], None]) -> None:
        """`write` takes an encoded `Session`; it may raise OSError where a disk is full."""
        self._backend, self._worker, self._write = backend, worker, write

    def __enter__(self) -> Recorder:
        self._is_marked = False
        probe = self._backend.probe()
        self._meter = Meter(probe.device_uuid)
        self._session = Session(
            worker=self._worker,
            started=round(time.time(), 3),
            machine=BOOT_ID.read_text().strip() if BOOT_ID.exists() else "",
            device=probe.device,
            device_name=probe.device_name,
            dtype=probe.dtype,
            num_parameters=probe.num_parameters,
        )
        self._write(files.encode(self._session))
        return self

    def mark(self) -> None:
        """Write what was used so far; what comes after the last mark is not of the session."""
        self._is_marked = True
        probe = self._backend.probe()
        ended = replace(
            self._session,
            ended=round(time.time(), 3),
            peak_host_memory_bytes=peak_host_memory_bytes(),
            peak_device_memory_bytes=probe.peak_device_memory_bytes,
            host_energy_j=self._meter.host_j,
            device_energy_j=self._meter.device_j,
            work=probe.work,
            notices=probe.notices or UNSET,
        )
        self._write(files.encode(ended))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and not self._is_marked:
                self.mark()
        finally:
            self._meter.stop()


def peak_host_memory_bytes() -> int:
    """Resident memory of this process at its peak so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
