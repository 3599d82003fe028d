"""The engine against the plain `generate`: the same answers, whatever it shares and batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from idefics2.engine import Engine, LazyImage, Request, images_of
from idefics2.generate import generate
from idefics2.images import PackedImages
from idefics2.model import Idefics2
from idefics2.prompt import Prompt, Slots
from idefics2.sampling import Sampling

ONE_REQUEST = {"cache_tokens": 128, "running": 1, "prefill_tokens": 1, "patches": 1}
FEW = {"cache_tokens": 256, "running": 3, "prefill_tokens": 40, "patches": 60, "visual_tokens": 10}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_answers_are_those_of_generate(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    seed: int,
    deterministic: bool,
) -> None:
    workload = make_workload(small_model, 25, seed)
    engine = make_engine(small_model, deterministic=deterministic)
    workload.check(engine.run(workload.requests))
    assert engine.stats.num_requests == 25
    assert engine.stats.num_crops_encoded == len(all_crops(workload.requests))
    assert engine.stats.num_crops_encoded < engine.stats.num_crops_requested
    assert engine.stats.num_prefill_tokens < engine.stats.num_prompt_tokens


def all_crops(requests: list[Request]) -> set[str]:
    return {picture.digest for request in requests for picture in request.images}


@pytest.mark.parametrize("limits", [ONE_REQUEST, FEW], ids=["one request", "few"])
@pytest.mark.parametrize("seed", range(4, 6))
def test_small_limits_cost_time_only(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    limits: dict[str, int],
    seed: int,
) -> None:
    workload = make_workload(small_model, 15, seed)
    workload.check(make_engine(small_model, **limits).run(workload.requests))


@pytest.mark.parametrize("planning_batch", [1, 4, 4096])
def test_requests_may_come_in_any_order(
    small_model: Idefics2,
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    planning_batch: int,
) -> None:
    workload = make_workload(small_model, 15, 6)
    saved = set()
    for seed in range(3):
        shuffled = random.Random(seed).sample(workload.requests, 15)
        engine = make_engine(small_model, planning_batch=planning_batch)
        workload.check(engine.run(iter(shuffled)))
        saved.add((engine.stats.num_crops_encoded, engine.stats.num_prefill_tokens))
    assert len(saved) == 1 or planning_batch < 15


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"text": {"sliding_window": 9}}, id="sliding window"),
        pytest.param({"connector": "mlp", "model_type": "idefics2_variant"}, id="no resampler"),
        pytest.param(
            {"architecture": "cross_attention", "model_type": "idefics2_variant"},
            id="cross-attention",
        ),
        pytest.param({"tie_word_embeddings": True}, id="tied"),
    ],
)
def test_other_configurations(
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_workload: Callable[..., Any],
    make_engine: Callable[..., Engine],
    changes: dict[str, Any],
) -> None:
    model = random_model(small(**changes))
    workload = make_workload(model, 12, 7)
    workload.check(make_engine(model).run(workload.requests))


def test_results_come_while_later_requests_are_not_even_read(
    small_model: Idefics2, make_workload: Callable[..., Any], make_engine: Callable[..., Engine]
) -> None:
    workload = make_workload(small_model, 24, 8)
    num_read = 0

    def requests() -> Iterator[Request]:
        nonlocal num_read
        for request in workload.requests:
            num_read += 1
            yield replace(request, images=())

    results = make_engine(small_model, planning_batch=4).run(requests())
    next(results)
    assert num_read <= 4 * 4, "two planning batches, none of more than twice its size"
    results.close()


def test_sequences_that_end_make_room_for_others_at_once(
    small_model: Idefics2, make_engine: Callable[..., Engine]
) -> None:
    """With three slots, 30 short answers and a long one take little longer than the long one."""
    requests = [
        Request(id=str(n), ids=(1, 7, 20 + n), sampling=Sampling(max_new_tokens=3 if n else 24))
        for n in range(31)
    ]
    engine = make_engine(small_model, running=3, cache_tokens=1024)
    assert len(list(engine.run(requests))) == 31
    assert engine.stats.num_decode_tokens == 30 * 2 + 23
    assert engine.stats.num_decode_steps < 23 + 30 * 2 / 2 + 3


def test_an_error_is_the_result_of_its_request_alone(
    small_model: Idefics2, make_workload: Callable[..., Any], make_engine: Callable[..., Engine]
) -> None:
    workload = make_workload(small_model, 12, 9)
    sampling = Sampling(max_new_tokens=3)
    [shared] = images_of(workload.prompts["001"], small_model.config)[:1]

    def broken() -> PackedImages:
        raise OSError("truncated")

    torn = LazyImage(digest="torn", slots=Slots((3,)), load=broken)
    short = replace(shared, digest="short", slots=Slots((4,)))
    bad = {
        "outside the vocabulary": Request(id="vocabulary", ids=(1, 120), sampling=sampling),
        "the prompt is empty": Request(id="empty", ids=(), sampling=sampling),
        "beyond the context of 512": Request(id="long", ids=(1,) * 510, sampling=sampling),
        "2 <image> ids, but its 1 crops take 3": Request(
            id="slots", ids=(1, 5, 5), images=(shared,), sampling=sampling
        ),
        "OSError: truncated": Request(
            id="torn", ids=(1, 5, 5, 5, 9), images=(torn,), sampling=sampling
        ),
        "takes 3 slots, not 4": Request(
            id="short", ids=(1, 5, 5, 5, 5), images=(short,), sampling=sampling
        ),
        "continuation 1 is empty": Request(id="nothing", ids=(1,), continuations=((3,), ())),
        "more than the cache has room for, 128": Request(
            id="room", ids=(1,) * 100, sampling=replace(sampling, max_new_tokens=29)
        ),
        "bad_ids has id -1": Request(
            id="bad", ids=(1,), sampling=replace(sampling, bad_ids=((4, -1),))
        ),
    }
    again = replace(bad["OSError: truncated"], id="torn again", ids=(1, 5, 5, 5, 10))
    requests = [*bad.values(), again, *workload.requests]
    random.Random(0).shuffle(requests)
    results = {r.id: r for r in make_engine(small_model, cache_tokens=256).run(requests)}
    for message, request in bad.items():
        assert message in results[request.id].error
        assert results.pop(request.id).finish_reason == "error"
    assert "truncated" in results.pop("torn again").error
    workload.check(results.values())


def test_a_broken_picture_beside_a_sound_one_fails_its_request_alone(
    small_model: Idefics2, make_workload: Callable[..., Any], make_engine: Callable[..., Engine]
) -> None:
    workload = make_workload(small_model, 12, 9)
    [sound] = images_of(workload.prompts["001"], small_model.config)[:1]
    sound = replace(sound, digest="its own")

    def broken() -> PackedImages:
        raise OSError("truncated")

    def short() -> PackedImages:
        packed = sound.load()
        return PackedImages(packed.patches_PK[:-1], packed.grid_I2)

    bad = [
        Request(
            id=f"{name} {number}",
            ids=(1, *[5] * (sound.num_tokens + torn.num_tokens), 9 + number),
            images=(sound, torn),
            sampling=Sampling(max_new_tokens=3),
        )
        for name, load in (("torn", broken), ("short", short))
        for number in range(2)
        for torn in [replace(sound, digest=name, load=load)]
    ]
    engine = make_engine(small_model)
    results = {r.id: r for r in engine.run([*bad, *workload.requests])}
    assert all(results.pop(request.id).finish_reason == "error" for request in bad)
    workload.check(results.values())


def test_an_engine_has_one_run_at_a_time(small_model: Idefics2) -> None:
    requests = [
        Request(id=str(n), ids=(1, 20 + n), sampling=Sampling(max_new_tokens=2 + n))
        for n in range(3)
    ]
    engine = Engine(small_model)
    first = engine.run(requests)
    next(first)
    with pytest.raises(RuntimeError, match="this engine still runs"):
        next(engine.run(requests))
    assert len(list(first)) == 2
    abandoned = engine.run(requests)
    next(abandoned)
    abandoned.close()
    assert len(list(engine.run(requests))) == 3


def test_stop_strings_need_decode(small_model: Idefics2) -> None:
    sampling = Sampling(max_new_tokens=2, stop_strings=("x",))
    [result] = Engine(small_model).run([Request(id="0", ids=(1, 9), sampling=sampling)])
    assert "stop_strings need decode" in result.error


def test_a_request_is_to_continue_or_to_score() -> None:
    with pytest.raises(ValueError, match="either sampling or continuations"):
        Request(id="0", ids=(1,))
    with pytest.raises(ValueError, match="either sampling or continuations"):
        Request(id="0", ids=(1,), sampling=Sampling(max_new_tokens=1), continuations=((1,),))


def test_an_error_of_the_source_of_requests_is_raised(small_model: Idefics2) -> None:
    def requests() -> Iterator[Request]:
        yield Request(id="0", ids=(1, 9), sampling=Sampling(max_new_tokens=2))
        raise RuntimeError("the data set is gone")

    with pytest.raises(RuntimeError, match="the data set is gone"):
        list(Engine(small_model).run(requests()))


def test_an_engine_runs_again_and_counts_on(
    small_model: Idefics2, make_workload: Callable[..., Any], make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine(small_model)
    assert list(engine.run([])) == []
    for seed in (10, 11):
        workload = make_workload(small_model, 6, seed)
        workload.check(engine.run(workload.requests))
    assert engine.stats.num_requests == 12


def test_timings_are_those_of_the_stages(
    small_model: Idefics2, make_case: Callable[..., Any], make_engine: Callable[..., Engine]
) -> None:
    prompt: Prompt = make_case(small_model.config, [3, (20, 36), 5]).prompt
    [picture] = images_of(prompt, small_model.config)
    one = Request(id="0", ids=prompt.ids, images=(picture,), sampling=Sampling(max_new_tokens=4))
    same_picture = replace(one, id="1", ids=(*prompt.ids, 9))
    first, second = sorted(make_engine(small_model).run([one, same_picture]), key=lambda r: r.id)
    caused, found = (first, second) if first.timings.encode_s else (second, first)
    assert caused.timings.encode_s > 0 and caused.timings.preprocess_s > 0
    assert found.timings.encode_s == found.timings.preprocess_s == 0
    for timings in (first.timings, second.timings):
        assert timings.prefill_s > 0 and timings.decode_s > 0 and timings.queue_s >= 0
        assert timings.first_token_s >= timings.encode_s + timings.prefill_s


def test_deterministic_answers_do_not_depend_on_company(
    small_model: Idefics2, make_workload: Callable[..., Any], make_engine: Callable[..., Engine]
) -> None:
    """Not even in the last bit of a logarithm."""
    workload = make_workload(small_model, 20, 12)
    engine = make_engine(small_model, deterministic=True)
    together = {result.id: result for result in engine.run(workload.requests)}
    for request in workload.requests:
        [alone] = make_engine(small_model, deterministic=True, **FEW).run([request])
        result = together[request.id]
        assert result.ids == alone.ids
        assert result.logprobs == alone.logprobs
        assert result.log_likelihoods == alone.log_likelihoods


def test_few_shot_prompts_are_prefilled_once(
    small_model: Idefics2, make_case: Callable[..., Any], make_engine: Callable[..., Engine]
) -> None:
    """A long beginning with pictures, shared by questions about many others."""
    shots: Prompt = make_case(small_model.config, [20, (20, 36), 30, (16, 16), 40]).prompt
    engine = make_engine(small_model, prefill_tokens=150, running=4)
    requests, prompts = [], {}
    for number in range(10):
        own: Prompt = make_case(small_model.config, [(8, 12), 4], seed=number + 1).prompt
        prompt = Prompt(
            shots.ids + own.ids[1:],
            torch.cat([shots.patches_PK, own.patches_PK]),
            torch.cat([shots.grid_I2, own.grid_I2]),
        )
        images = images_of(prompt, small_model.config)
        sampling = Sampling(max_new_tokens=4)
        requests.append(Request(id=str(number), ids=prompt.ids, images=images, sampling=sampling))
        prompts[str(number)] = prompt
    for result in engine.run(requests):
        [answer] = generate(small_model, [prompts[result.id]], Sampling(max_new_tokens=4))
        assert result.ids == answer.ids
    assert engine.stats.num_prefill_tokens == len(shots.ids) + 10 * (3 + 4)
    assert engine.stats.num_crops_encoded == 2 + 10
