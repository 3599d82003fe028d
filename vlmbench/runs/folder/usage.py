"""What a worker used: usage-WORKER.jsonl, a line when it begins and one when it ends well.

A session is one process's pass over its samples. A session that was killed has no second line: its
responses still tell its time, but not its memory and energy.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, TypeGuard

from vlmbench import files
from vlmbench.backends.protocol import Backend
from vlmbench.runs.energy import Meter
from vlmbench.schema import Json

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One process's pass over its samples; the model was loaded before it began."""

    worker: str
    started: float
    """Seconds since 1970, as in the responses."""

    ended: float | None = None
    """None: killed, or still at work."""

    machine: str = ""
    """Equal for sessions on one machine, which have its processors' energy in common."""

    device: str = ""
    device_name: str = ""
    dtype: str = ""
    num_parameters: int | None = None
    peak_host_memory_bytes: int | None = None
    """Resident memory of the process, the loading of the model included."""

    peak_device_memory_bytes: int | None = None
    host_energy_j: float | None = None
    device_energy_j: float | None = None
    work: Mapping[str, Json] = field(default_factory=dict)
    """What the backend did and was spared, as it counts: crops encoded of those asked for, ..."""


class Recorder:
    """Writes the two lines of a session around a `with` block; no second one if it raises."""

    def __init__(self, folder: Path, worker: str, backend: Backend) -> None:
        self._path = folder / f"usage-{worker}.jsonl"
        self._worker, self._backend = worker, backend

    def __enter__(self) -> None:
        self._probe = self._backend.probe()
        self._meter = Meter(self._probe.device_uuid)
        self._started = round(time.time(), 3)
        self._write()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                probe = self._backend.probe()
                self._write(
                    ended=round(time.time(), 3),
                    peak_host_memory_bytes=peak_host_memory_bytes(),
                    peak_device_memory_bytes=probe.peak_device_memory_bytes,
                    host_energy_j=self._meter.host_j,
                    device_energy_j=self._meter.device_j,
                    work=probe.work,
                )
        finally:
            self._meter.stop()

    def _write(self, **at_the_end: Json) -> None:
        """Raises: OSError where the disk is full."""
        probe = self._probe
        session = Session(
            worker=self._worker,
            started=self._started,
            machine=BOOT_ID.read_text().strip() if BOOT_ID.exists() else "",
            device=probe.device,
            device_name=probe.device_name,
            dtype=probe.dtype,
            num_parameters=probe.num_parameters,
        )
        with self._path.open("ab") as file:
            file.write(files.encode(asdict(session) | at_the_end))
            file.flush()
            os.fsync(file.fileno())


def peak_host_memory_bytes() -> int:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB


def sessions(folder: Path) -> list[Session]:
    """All sessions of a run's folder, by worker and time.

    A line that cannot be read counts as never written.
    """
    found: dict[tuple[str, float], Session] = {}
    for path in sorted(folder.glob("usage-*.jsonl")):
        with files.opened(path) as lines:
            for line in lines:
                try:
                    record = files.decode(line)
                except ValueError:
                    continue
                if _is_session(record):
                    session = Session(**record)
                    found[session.worker, session.started] = session
    return [found[key] for key in sorted(found)]


TEXTS = ("worker", "machine", "device", "device_name", "dtype")


def _is_session(record: Any) -> TypeGuard[dict[str, Any]]:
    if not isinstance(record, dict):
        return False
    known = {item.name for item in fields(Session)}
    numbers = [record[name] for name in record if name not in (*TEXTS, "work")]
    return (
        {"worker", "started"} <= record.keys() <= known
        and record["started"] is not None
        and isinstance(record.get("work", {}), dict)
        and all(isinstance(record.get(name, ""), str) for name in TEXTS)
        and all(isinstance(number, (int, float, NoneType)) for number in numbers)
    )
