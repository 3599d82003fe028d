"""When memory runs out, less is done at once, and the answers stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from idefics2.engine import Budget, Engine, Request, Result
from idefics2.engine.kv_cache import Rows
from idefics2.engine.model_runner import Runner
from idefics2.model import Idefics2
from idefics2.sampling import Sampling


def test_large_packs_steps_and_batches_are_made_smaller(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload = make_workload(small_model, 30, 20)
    encode, read, next_logits = Idefics2.encode_images, Runner.read, Runner._next_logits

    def encode_little(self: Idefics2, patches_PK: Tensor, grid_I2: Tensor) -> Tensor:
        if len(patches_PK) > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(self, patches_PK, grid_I2)

    def read_little(self: Runner, packed: Any, *others: Any) -> Tensor:
        x_TD = read(self, packed, *others)  # has written to the trunk by then
        if len(packed.ids) > 70:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 12 bytes")
        return x_TD

    def go_on_with_few(self: Runner, row_B: Tensor, *others: Any) -> Tensor:
        if len(row_B) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return next_logits(self, row_B, *others)

    engine = make_engine(small_model)
    with monkeypatch.context() as patched:
        patched.setattr(Idefics2, "encode_images", encode_little)
        patched.setattr(Runner, "read", read_little)
        patched.setattr(Runner, "_next_logits", go_on_with_few)
        results = list(engine.run(workload.requests))
    workload.check(results)
    noted = " ".join(engine.work.shortages)
    assert all(word in noted for word in ("encoding", "reading", "answers"))


def test_rows_that_find_no_memory_are_halved(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = Rows.__init__

    def build_few(self: Rows, config: Any, num_rows: int, *others: Any, **named: Any) -> None:
        if num_rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        build(self, config, num_rows, *others, **named)

    workload = make_workload(small_model, 20, 21)
    engine = make_engine(small_model)
    with monkeypatch.context() as patched:
        patched.setattr(Rows, "__init__", build_few)
        results = list(engine.run(workload.requests))
    workload.check(results)
    assert len(engine.work.shortages) == 2


def test_what_is_too_large_alone_is_an_error_of_its_own(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload = make_workload(small_model, 20, 22)
    encode, read = Idefics2.encode_images, Runner.read

    def encode_small(self: Idefics2, patches_PK: Tensor, grid_I2: Tensor) -> Tensor:
        if int(grid_I2.prod(1).max()) == 45:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(self, patches_PK, grid_I2)

    def read_short(self: Runner, packed: Any, *others: Any) -> Tensor:
        if len(packed.ids) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(self, packed, *others)

    long = Request(id="long", ids=(1,) * 101, sampling=Sampling(max_new_tokens=2))
    with monkeypatch.context() as patched:
        patched.setattr(Idefics2, "encode_images", encode_small)
        patched.setattr(Runner, "read", read_short)
        found = {r.id: r for r in make_engine(small_model).run([*workload.requests, long])}
    assert "OutOfMemoryError" in found.pop("long").error
    large = {id for id, p in workload.prompts.items() if (p.grid_I2.prod(1) == 45).any()}
    assert {id for id, result in found.items() if result.error} == large
    rest = [request for request in workload.requests if request.id not in large]
    workload.requests = rest
    workload.check(found[request.id] for request in rest)


def test_other_errors_of_the_device_are_raised(
    small_model: Idefics2, make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Runner, *others: Any) -> Tensor:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(Runner, "read", fail)
    request = Request(id="0", ids=(1, 9), sampling=Sampling(max_new_tokens=2))
    with pytest.raises(RuntimeError, match="device-side assert"):
        list(make_engine(small_model).run([request]))


@pytest.mark.parametrize("name", ["answers", "step_tokens", "patches", "visual_tokens"])
def test_a_budget_of_nothing_is_refused(name: str) -> None:
    limits = dict.fromkeys(
        ("cache_tokens", "answers", "step_tokens", "patches", "waiting_patches", "visual_tokens"),
        500,
    )
    with pytest.raises(ValueError, match=name):
        Budget(**(limits | {name: 0}))
    with pytest.raises(ValueError, match="cache_tokens must be at least 128"):
        Budget(**(limits | {"cache_tokens": 127}))


def test_the_default_budget_is_that_of_the_memory_given(small_model: Idefics2) -> None:
    budget = Budget.of(small_model, cache_bytes=2 * 3 * 2 * 12 * 4 * 1000)
    assert budget.cache_tokens == 1000
    assert budget.longest == 448
    results: list[Result] = list(
        Engine(small_model, budget).run(
            [Request(id="0", ids=(1, 9), sampling=Sampling(max_new_tokens=2))]
        )
    )
    assert len(results[0].ids) == 2
