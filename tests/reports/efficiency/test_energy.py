"""Energy counters, on made-up ones."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlmbench.runs.energy import Meter


def add_zone(powercap: Path, zone: str, name: str, microjoules: int) -> Path:
    folder = powercap / zone
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text("1000000000\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_and_memory_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
    }
    counters = [add_zone(tmp_path, zone, name, 10_000_000) for zone, name in zones.items()]
    meter = Meter(powercap=tmp_path)
    for counter in counters:
        counter.write_text("12500000\n")
    assert meter.host_j == pytest.approx(3 * 2.5)
    meter.stop()


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    counter = add_zone(tmp_path, "intel-rapl:0", "package-0", 999_000_000)
    meter = Meter(powercap=tmp_path)
    counter.write_text("500000\n")
    assert meter.host_j == pytest.approx(1.5)
    counter.write_text("2500000\n")
    assert meter.host_j == pytest.approx(3.5)
    meter.stop()


def test_no_counters_are_no_energy(tmp_path: Path) -> None:
    meter = Meter(powercap=tmp_path / "none")
    assert (meter.host_j, meter.device_j) == (None, None)
    meter.stop()


def test_one_counter_that_cannot_be_read_leaves_no_sum(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    add_zone(tmp_path, "intel-rapl:1", "package-1", 1).write_text("")
    meter = Meter(powercap=tmp_path)
    assert meter.host_j is None
    meter.stop()


class Nvml(SimpleNamespace):
    """Two readings of one GPU, then an error."""

    class NVMLError(Exception):
        pass

    def __init__(self, *millijoules: int) -> None:
        super().__init__(left=list(millijoules))

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own name
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802 - NVML's own name
        if uuid != "GPU-1":
            raise self.NVMLError(uuid)
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any) -> int:  # noqa: N802 - NVML's own
        if not self.left:
            raise self.NVMLError(device)
        found: int = self.left.pop(0)
        return found


@pytest.mark.parametrize(
    ("uuid", "readings", "expected"),
    [
        ("GPU-1", [5000, 7500], 2.5),
        ("GPU-1", [5000, 5000], 0.0),
        ("GPU-1", [5000], None),
        ("GPU-1", [], None),
        ("GPU-2", [5000, 7500], None),
        ("", [5000, 7500], None),
    ],
)
def test_a_gpus_energy_is_the_difference_of_its_counter(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uuid: str,
    readings: list[int],
    expected: float | None,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(*readings))
    assert Meter(uuid, powercap=tmp_path).device_j == expected
