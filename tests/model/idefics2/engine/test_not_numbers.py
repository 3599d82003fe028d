"""NaN and infinity at one request's stage are that request's error, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from idefics2.engine import Engine, Limits, Request, Result, images_of
from idefics2.engine.limits import is_shortage
from idefics2.model import Idefics2
from idefics2.sampling import Sampling

BAD_WORD = 119
SAMPLING = Sampling(max_new_tokens=5)
BAD_VALUES = (float("nan"), float("inf"), -float("inf"))


@pytest.fixture
def model(small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]) -> Idefics2:
    return random_model(small())


@pytest.fixture
def requests(model: Idefics2, make_case: Callable[..., Any]) -> list[Request]:
    """Eight requests with a picture of their own each, and one text for all."""
    prompts = [
        make_case(model.config, (2, (16, 16 + 4 * seed), 6), seed).prompt for seed in range(8)
    ]
    words = prompts[0].ids[-6:]
    return [
        Request(
            id=f"{index}",
            ids=(*prompt.ids[:-6], *words),
            images=images_of(prompt, model.config),
            sampling=SAMPLING,
        )
        for index, prompt in enumerate(prompts)
    ]


def run(
    model: Idefics2, requests: list[Request], answers: int, deterministic: bool
) -> dict[str, Result]:
    limits = Limits(
        **{"cache_tokens": 4096, "running": answers, "prefill_tokens": 256, "patches": 400},
        **{"waiting_patches": 4096, "visual_tokens": 4096},
    )
    engine = Engine(model, limits, deterministic=deterministic)
    return {result.id: result for result in engine.run(requests)}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("answers", [64, 3, 1])
@pytest.mark.parametrize("value", BAD_VALUES, ids=str)
@pytest.mark.parametrize("bad", [0, 7], ids=["first", "last"])
def test_a_picture_whose_tokens_are_not_numbers_fails_its_own_request_only(
    bad: int,
    value: float,
    answers: int,
    deterministic: bool,
    model: Idefics2,
    requests: list[Request],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = run(model, requests, answers, deterministic)
    encode = model.encode_images
    shape = [4, (16 + 4 * bad) // 4]

    def overflowing(patches_PK: Tensor, grid_I2: Tensor) -> Tensor:
        visual_ILD = encode(patches_PK, grid_I2).clone()
        visual_ILD[(grid_I2 == torch.tensor(shape)).all(1), 0, 3] = value
        return visual_ILD

    monkeypatch.setattr(model, "encode_images", overflowing)
    found = run(model, requests, answers, deterministic)
    assert {id for id, result in found.items() if result.error} == {str(bad)}
    assert "visual tokens of a picture are not numbers" in found[str(bad)].error
    fine = [id for id in expected if id != str(bad)]
    assert [found[id].ids for id in fine] == [expected[id].ids for id in fine]


@pytest.mark.parametrize("answers", [3, 1])
@pytest.mark.parametrize("value", BAD_VALUES, ids=str)
def test_a_row_of_the_cache_is_clean_for_the_next_answer(
    value: float, answers: int, model: Idefics2, requests: list[Request]
) -> None:
    """The long failed prompt leaves keys beyond the end of all that follow it in its row."""
    expected = run(model, requests, answers, True)
    with torch.no_grad():
        model.text_model.embed_tokens.weight[BAD_WORD] = value
    long = Request(id="bad", ids=(1, *[BAD_WORD] * 60), images=(), sampling=SAMPLING)
    fine = [request for request in requests if BAD_WORD not in request.ids]
    assert len(fine) > 5
    found = run(model, [long, *fine], answers, True)
    assert {id for id, result in found.items() if result.error} == {"bad"}
    assert all(found[request.id].ids == expected[request.id].ids for request in fine)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "NCCL error in: NCCLUtils.cpp:1: unhandled cuda error\nCuda failure 2 'out of memory'",
        "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_every_librarys_word_for_too_little_memory_is_a_shortage(message: str) -> None:
    assert is_shortage(RuntimeError(message))
    assert not is_shortage(ValueError(message))


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
        "cuDNN error: CUDNN_STATUS_BAD_PARAM",
    ],
)
def test_another_error_of_theirs_is_none(message: str) -> None:
    assert not is_shortage(RuntimeError(message))
