"""What a worker used: usage-WORKER.jsonl, a line when it begins and one after each of its leases.

A session is one process's pass over its samples; its last line counts. Of a session that was killed
the responses tell its time, but nothing tells its energy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from vlmbench import files
from vlmbench.runs.folder import layout

FIGURES = (
    *("ended", "num_parameters", "peak_host_memory_bytes", "peak_device_memory_bytes"),
    *("host_energy_j", "device_energy_j"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One process's pass over its samples; the model was loaded before it began."""

    worker: str
    started: float
    """Seconds since 1970, as in the responses."""

    ended: float | None = None
    """When it had answered its last lease; None: killed before, or still at work."""

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
    work: Mapping[str, Any] = field(default_factory=dict)
    """What the backend did and was spared, as it counts: crops encoded of those asked for, ..."""

    notices: tuple[str, ...] | UnsetType = UNSET
    """What the backend told the user of its answers, a line each; not written where it was none."""

    def __post_init__(self) -> None:
        """An absurd figure (10^400, NaN, below 0) is unknown.

        Raises: ValueError where it is the session's beginning.
        """
        if not files.is_figure(self.started):
            raise ValueError(f"a session began at {self.started}")
        for name in FIGURES:
            value = getattr(self, name)
            if value is not None and not files.is_figure(value):
                object.__setattr__(self, name, None)


def append_usage(folder: Path, worker: str, line: bytes) -> None:
    """Append an encoded session to its worker's file. Raises: OSError where the disk is full."""
    fd = files.own_file(layout.usage_file(folder, worker), os.O_WRONLY | os.O_APPEND)
    with os.fdopen(fd, "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def sessions(folder: Path) -> list[Session]:
    """All sessions of a run's folder, by worker and time.

    A line that cannot be read counts as never written.
    """
    found: dict[tuple[str, float], Session] = {}
    for path in layout.usage_files(folder):
        with files.opened(path) as lines:
            for line in lines:
                try:
                    session = files.decode_as(line, Session)
                except ValueError:
                    continue
                found[session.worker, session.started] = session
    return [found[key] for key in sorted(found)]
