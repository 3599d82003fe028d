"""When memory runs out, less is done at once, and the answers stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from idefics2.engine import Engine, Limits, Request, Result
from idefics2.engine.kv_cache import KVCache
from idefics2.engine.model_runner import ModelRunner
from idefics2.model import Idefics2
from idefics2.sampling import Sampling


def test_large_packs_steps_and_batches_are_made_smaller(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload = make_workload(small_model, 30, 20)
    encode, prefill, next_logits = (
        Idefics2.encode_images,
        ModelRunner.prefill,
        ModelRunner._next_logits,
    )

    def encode_little(self: Idefics2, patches_PK: Tensor, grid_I2: Tensor) -> Tensor:
        if len(patches_PK) > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(self, patches_PK, grid_I2)

    def prefill_little(self: ModelRunner, batch: Any, *others: Any) -> Tensor:
        x_TD = prefill(self, batch, *others)  # has written to the prefix slot by then
        if len(batch.ids) > 70:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 12 bytes")
        return x_TD

    def decode_few(self: ModelRunner, slot_B: Tensor, *others: Any) -> Tensor:
        if len(slot_B) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return next_logits(self, slot_B, *others)

    engine = make_engine(small_model)
    with monkeypatch.context() as patched:
        patched.setattr(Idefics2, "encode_images", encode_little)
        patched.setattr(ModelRunner, "prefill", prefill_little)
        patched.setattr(ModelRunner, "_next_logits", decode_few)
        results = list(engine.run(workload.requests))
    workload.check(results)
    noted = " ".join(engine.stats.shortages)
    assert all(word in noted for word in ("encoding", "prefill", "decoding"))


def test_kv_cache_slots_that_find_no_memory_are_halved(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = KVCache.__init__

    def build_few(self: KVCache, config: Any, num_slots: int, *others: Any, **named: Any) -> None:
        if num_slots > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        build(self, config, num_slots, *others, **named)

    workload = make_workload(small_model, 20, 21)
    engine = make_engine(small_model)
    with monkeypatch.context() as patched:
        patched.setattr(KVCache, "__init__", build_few)
        results = list(engine.run(workload.requests))
    workload.check(results)
    assert len(engine.stats.shortages) == 2


def test_what_is_too_large_alone_is_an_error_of_its_own(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload = make_workload(small_model, 20, 22)
    encode, prefill = Idefics2.encode_images, ModelRunner.prefill

    def encode_small(self: Idefics2, patches_PK: Tensor, grid_I2: Tensor) -> Tensor:
        if int(grid_I2.prod(1).max()) == 45:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(self, patches_PK, grid_I2)

    def prefill_short(self: ModelRunner, batch: Any, *others: Any) -> Tensor:
        if len(batch.ids) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prefill(self, batch, *others)

    long = Request(id="long", ids=(1,) * 101, sampling=Sampling(max_new_tokens=2))
    with monkeypatch.context() as patched:
        patched.setattr(Idefics2, "encode_images", encode_small)
        patched.setattr(ModelRunner, "prefill", prefill_short)
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
    def fail(self: ModelRunner, *others: Any) -> Tensor:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(ModelRunner, "prefill", fail)
    request = Request(id="0", ids=(1, 9), sampling=Sampling(max_new_tokens=2))
    with pytest.raises(RuntimeError, match="device-side assert"):
        list(make_engine(small_model).run([request]))


@pytest.mark.parametrize("name", ["running", "prefill_tokens", "patches", "visual_tokens"])
def test_limits_of_nothing_are_refused(name: str) -> None:
    limits = dict.fromkeys(
        (
            "cache_tokens",
            "running",
            "prefill_tokens",
            "patches",
            "waiting_patches",
            "visual_tokens",
        ),
        500,
    )
    with pytest.raises(ValueError, match=name):
        Limits(**(limits | {name: 0}))
    with pytest.raises(ValueError, match="cache_tokens must be at least 128"):
        Limits(**(limits | {"cache_tokens": 127}))


def test_the_default_limits_are_those_of_the_memory_given(small_model: Idefics2) -> None:
    limits = Limits.of(small_model, cache_bytes=2 * 3 * 2 * 12 * 4 * 1000)
    assert limits.cache_tokens == 1000
    assert limits.longest == 448
    results: list[Result] = list(
        Engine(small_model, limits).run(
            [Request(id="0", ids=(1, 9), sampling=Sampling(max_new_tokens=2))]
        )
    )
    assert len(results[0].ids) == 2
