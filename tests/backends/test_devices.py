"""Which device and dtype a setting comes to."""

from __future__ import annotations

import pytest
import torch

from vlmbench.backends.devices import MUST_BE_GPU, device_of, dtype_of, peak_memory_bytes
from vlmbench.errors import VlmbenchError

CPU = torch.device("cpu")


@pytest.fixture
def accelerators(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four accelerators that are not there."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return monkeypatch


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: None)
    assert device_of("auto") == CPU


def test_a_worker_that_was_started_for_a_gpu_wants_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 0)
    monkeypatch.setenv(MUST_BE_GPU, "1")
    with pytest.raises(VlmbenchError, match="a GPU was asked for, and torch finds none"):
        device_of("auto")


def test_auto_is_the_first_accelerator(accelerators: pytest.MonkeyPatch) -> None:
    assert device_of("auto") == torch.device("cuda", 0)


def test_a_launched_process_takes_the_device_of_its_rank_and_joins_no_group(
    accelerators: pytest.MonkeyPatch,
) -> None:
    """The other ranks never come, so that joining a group would wait for ever."""
    for name, value in {"RANK": "7", "WORLD_SIZE": "8", "LOCAL_RANK": "3"}.items():
        accelerators.setenv(name, value)
    accelerators.setenv("MASTER_ADDR", "127.0.0.1")
    accelerators.setenv("MASTER_PORT", "1")
    assert device_of("auto") == torch.device("cuda", 3)
    assert not torch.distributed.is_initialized()


def test_a_process_that_sees_one_device_takes_it(accelerators: pytest.MonkeyPatch) -> None:
    accelerators.setenv("LOCAL_RANK", "3")
    accelerators.setattr(torch.accelerator, "device_count", lambda: 1)
    assert device_of("auto") == torch.device("cuda", 0)


def test_more_processes_than_devices_is_a_mistake(accelerators: pytest.MonkeyPatch) -> None:
    accelerators.setenv("LOCAL_RANK", "4")
    with pytest.raises(VlmbenchError, match="process 4 of this node has no device: there are 4"):
        device_of("auto")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "tpu:0", ""])
def test_a_device_that_is_not_there_is_a_mistake(name: str) -> None:
    with pytest.raises(VlmbenchError, match=f"no device '{name}'") as raised:
        device_of(name)
    assert "\n" not in str(raised.value)


def test_auto_dtype_is_float32_on_a_cpu_and_the_checkpoints_elsewhere() -> None:
    assert dtype_of("auto", CPU, "bfloat16") == torch.float32
    assert dtype_of("bfloat16", CPU, "float32") == torch.bfloat16
    assert dtype_of("auto", torch.device("meta"), "bfloat16") == torch.bfloat16


@pytest.mark.parametrize("name", ["int8", "float7", "nn"])
def test_a_dtype_that_does_not_compute_is_a_mistake(name: str) -> None:
    with pytest.raises(VlmbenchError, match=f"meta does not compute in {name}"):
        dtype_of("auto", torch.device("meta"), name)


def test_nobody_counts_a_cpus_memory() -> None:
    assert peak_memory_bytes(CPU) is None
