"""Device time by request: it adds up to the engine's; what is shared is divided by its users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from idefics2.engine import Engine, Request
from idefics2.engine.attribution import DeviceTime
from idefics2.engine.planner import PlannedPrompt
from idefics2.engine.scheduler import Chunk, PrefillStep
from idefics2.engine.sequence import Sequence
from idefics2.model import Idefics2
from idefics2.sampling import Sampling


def busy_s(engine: Engine) -> float:
    return sum(engine.stats.seconds[stage] for stage in ("encode", "prefill", "decode"))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="roomy"),
        pytest.param({"prefill_tokens": 64, "patches": 100, "running": 3}, id="small steps"),
        pytest.param({"visual_tokens": 1}, id="images encoded again"),
        pytest.param({"planning_batch": 12}, id="several planning batches"),
        pytest.param({"deterministic": True}, id="one by one"),
    ],
)
def test_requests_add_up_to_the_time_of_all_steps(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    changes: dict[str, Any],
) -> None:
    engine = make_engine(small_model, **changes)
    results = list(engine.run(make_workload(small_model, 40, seed=3).requests))
    assert all(result.device_s > 0 for result in results)
    assert sum(result.device_s for result in results) == pytest.approx(busy_s(engine))


def test_a_request_that_fails_keeps_the_time_that_it_cost(
    small_model: Idefics2, make_workload: Callable[..., Any], make_engine: Callable[..., Engine]
) -> None:
    def broken() -> Any:
        raise OSError("no such picture")

    asked = make_workload(small_model, 12, seed=5).requests
    images = [one for one in asked if one.images]
    bad = replace(images[0].images[0], digest="broken", load=broken)
    asked.append(replace(images[0], id="bad", images=(*images[0].images[:-1], bad)))
    engine = make_engine(small_model)
    results = list(engine.run(asked))
    assert [one.id for one in results if one.finish_reason == "error"] == ["bad"]
    assert sum(one.device_s for one in results) == pytest.approx(busy_s(engine))


def prompt(index: int, length: int, shared: int) -> PlannedPrompt:
    return PlannedPrompt(
        index=index, id=str(index), keys=tuple(range(length)), max_new_tokens=2, num_shared=shared
    )


def made(prompts: list[PlannedPrompt]) -> list[Sequence]:
    sampling = Sampling(max_new_tokens=2)
    return [
        Sequence(Request(id=one.id, ids=one.keys, sampling=sampling), 0.0, (), None)
        for one in prompts
    ]


def test_a_prefix_is_divided_among_those_that_share_it() -> None:
    """Prompts of 10 tokens: the second shares 8 with the first, the third 2 with both."""
    prompts = [prompt(0, 10, 0), prompt(1, 10, 8), prompt(2, 10, 2), prompt(3, 10, 0)]
    sequences = made(prompts)
    chunks = [Chunk(one, one.num_shared, 10, None) for one in prompts]
    step = PrefillStep(tuple(chunks), 0, 0)
    DeviceTime(tuple(prompts), sequences).prefilled(step, sum(one.num_tokens for one in chunks))
    first = 2 / 3 + 6 / 2
    assert [one.device_s for one in sequences] == pytest.approx(
        [first + 2, first + 2, 8 + 2 / 3, 10]
    )


def test_branches_of_a_scored_prompt_are_its_own() -> None:
    prompts = [replace(prompt(0, 10, 0), branches=(3, 1)), prompt(1, 10, 9)]
    sequences = made(prompts)
    step = PrefillStep((Chunk(prompts[0], 0, 10, None),), 0, 9)
    DeviceTime(tuple(prompts), sequences).prefilled(step, 14.0)
    assert [one.device_s for one in sequences] == pytest.approx([4.5 + 1 + 4, 4.5])


def test_a_decode_step_is_divided_by_its_rows() -> None:
    sequences = made([prompt(0, 10, 0), prompt(1, 10, 0), prompt(2, 10, 0)])
    DeviceTime((), sequences).decoded(sequences[:2], 3.0)
    assert [one.device_s for one in sequences] == [1.5, 1.5, 0.0]
