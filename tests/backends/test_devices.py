"""Which device and dtype a setting comes to."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from idefics2.dtypes import default_dtype
from vlmbench.backends.devices import device_of, dtype_of, peak_memory_bytes
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


def test_auto_dtype_is_float32_on_a_cpu_and_bfloat16_elsewhere() -> None:
    assert dtype_of("auto", CPU) == default_dtype(CPU) == torch.float32
    assert dtype_of("bfloat16", CPU) == torch.bfloat16
    meta = torch.device("meta")
    assert dtype_of("auto", meta) == default_dtype(meta) == torch.bfloat16


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        pytest.param((7, 0), torch.float16, id="V100"),
        pytest.param((7, 5), torch.float16, id="T4"),
        pytest.param((8, 0), torch.bfloat16, id="A100"),
        pytest.param((9, 0), torch.bfloat16, id="H100"),
        pytest.param((10, 0), torch.bfloat16, id="B200"),
    ],
)
def test_auto_dtype_is_one_that_the_gpu_has_units_for_in_ask_as_in_run(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    device = torch.device("cuda", 0)
    with FakeTensorMode():
        assert dtype_of("auto", device) == dtype
    assert default_dtype(device) == dtype


@pytest.mark.parametrize("name", ["int8", "float7", "nn"])
def test_a_dtype_that_does_not_compute_is_a_mistake(name: str) -> None:
    with pytest.raises(VlmbenchError, match=f"meta does not compute in {name}"):
        dtype_of(name, torch.device("meta"))


def test_nobody_counts_a_cpus_memory() -> None:
    assert peak_memory_bytes(CPU) is None
