"""Which graph serves which step; whether graphs give the same answers can be seen on a GPU only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from idefics2.engine import Engine
from idefics2.engine.cuda_graphs import bucket
from idefics2.engine.kv_cache import KVCache
from idefics2.model import Idefics2


@pytest.mark.parametrize(
    ("num_sequences", "longest", "expected"),
    [
        pytest.param(1, 5, (1, 64), id="the smallest"),
        pytest.param(3, 63, (4, 64), id="its own key has room"),
        pytest.param(4, 64, (4, 128), id="its own key has none"),
        pytest.param(5, 129, (6, 192), id="no more than there are slots, and tokens in them"),
    ],
)
def test_the_graph_is_the_smallest_that_has_room(
    small_model: Idefics2, num_sequences: int, longest: int, expected: tuple[int, int]
) -> None:
    cpu = torch.device("cpu")
    cache = KVCache(small_model.config.text, 6, 192, dtype=torch.float32, device=cpu)
    assert bucket(num_sequences, longest, cache) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_answers_through_graphs_are_those_of_generate(
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
) -> None:
    model = random_model(small()).to("cuda")
    workload = make_workload(model, 25, 0)
    workload.check(make_engine(model).run(workload.requests))
