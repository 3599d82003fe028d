"""Energy counters: RAPL for processors and their memory, NVML for one GPU; absent ones are None."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

POWERCAP = Path("/sys/class/powercap")

SAMPLE_S: Final = 20.0
"""RAPL's counters wrap, the smallest after 2^18 J: at 1 kW that is 4 minutes."""

RAPL_ZONES = ("package", "dram")
"""Zones to sum: cores and graphics are parts of a package, and psys is the whole platform."""


class Meter:
    """Counts joules from its making to `stop`; the host's are those of everything that runs on it.

    So the host's figure has the idle power in it, and what other processes drew at the time.
    """

    def __init__(self, device_uuid: str = "", powercap: Path = POWERCAP) -> None:
        """`device_uuid`: the GPU's, as NVML spells it ("GPU-..."); empty: no GPU."""
        self._zones = _rapl(powercap)
        self._before = [zone.joules() for zone in self._zones]
        self._host_j = 0.0
        self._device_joules = _nvml(device_uuid) if device_uuid else None
        self._device_before = self._device_joules and self._device_joules()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if self._zones:
            self._thread.start()

    @property
    def host_j(self) -> float | None:
        """Joules of packages and memory; None: RAPL absent or not readable."""
        if not self._zones:
            return None
        self._sample()
        return self._host_j

    @property
    def device_j(self) -> float | None:
        """Joules of the GPU; None: no NVML or no energy counter (Volta and later)."""
        now = self._device_joules and self._device_joules()
        if now is None or self._device_before is None:
            return None
        return now - self._device_before

    def stop(self) -> None:
        self._stopped.set()
        if self._zones:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            now = [zone.joules() for zone in self._zones]
            for zone, before, after in zip(self._zones, self._before, now, strict=True):
                self._host_j += (after - before) % zone.range_j
            self._before = now


class _Zone:
    def __init__(self, folder: Path) -> None:
        """Raises: OSError or ValueError where it has no counter that we may read."""
        self._counter = folder / "energy_uj"
        self.range_j = int((folder / "max_energy_range_uj").read_text()) / 1e6
        self.joules()

    def joules(self) -> float:
        return int(self._counter.read_text()) / 1e6


def _rapl(powercap: Path) -> list[_Zone]:
    """Zones to add up; none where any of them is closed to us, as part of a sum is no sum."""
    try:
        return [
            _Zone(folder)
            for folder in sorted(powercap.glob("intel-rapl:*"))
            if (folder / "name").read_text().startswith(RAPL_ZONES)
        ]
    except (OSError, ValueError):
        return []


def _nvml(uuid: str) -> Callable[[], float | None] | None:
    """The reader of one GPU's counter, in joules."""
    try:
        nvml: Any = importlib.import_module("pynvml")  # it has no types
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        device = nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:
        return None

    def joules() -> float | None:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(device)) / 1e3
        except nvml.NVMLError:
            return None

    return joules
