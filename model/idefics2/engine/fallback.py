"""Requests one by one, by the plain `generate`: for an architecture that the engine lacks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from idefics2.engine.request import Request, Result, Timings, failed
from idefics2.engine.sequence import PlanningBatch
from idefics2.generate import generate, log_likelihoods
from idefics2.images import PackedImages
from idefics2.model import Idefics2
from idefics2.prompt import Prompt
from idefics2.sampling import Decode, check_numbers


def answer_one_by_one(
    model: Idefics2, batch: PlanningBatch, decode: Decode | None
) -> Iterator[Result]:
    """A planning batch's results, in the order of arrival."""
    for sequence in batch.sequences:
        start = time.perf_counter()
        try:
            result = _answer(model, sequence.request, decode)
        except Exception as error:  # the sample boundary
            yield failed(sequence.request.id, error)
        else:
            timings = replace(result.timings, queue_s=start - sequence.arrived_at)
            device_s = time.perf_counter() - start - timings.preprocess_s  # it has all of it
            yield replace(result, timings=timings, device_s=device_s)


def _answer(model: Idefics2, request: Request, decode: Decode | None) -> Result:
    start = time.perf_counter()
    packed = [image.load() for image in request.images]
    prompt = _prompt(request, packed, model.config.vision.patch_values)
    preprocess_s = time.perf_counter() - start
    if request.sampling is None:
        scores = log_likelihoods(model, prompt, request.continuations)
        check_numbers(scores)
        return Result(
            id=request.id,
            finish_reason="scored",
            log_likelihoods=tuple(scores),
            timings=Timings(preprocess_s=preprocess_s),
        )
    [found] = generate(model, [prompt], request.sampling, decode)
    timings = Timings(
        preprocess_s=preprocess_s,
        encode_s=found.timings.encode_s,
        prefill_s=found.timings.prefill_s,
        first_token_s=preprocess_s + found.timings.encode_s + found.timings.prefill_s,
        decode_s=found.timings.decode_s,
    )
    return Result(
        id=request.id,
        finish_reason=found.finish_reason,
        ids=found.ids,
        text=found.text,
        logprobs=found.logprobs,
        timings=timings,
    )


def _prompt(request: Request, packed: list[PackedImages], patch_values: int) -> Prompt:
    patches = [one.patches_PK for one in packed]
    grids = [one.grid_I2 for one in packed]
    return Prompt(
        request.ids,
        torch.cat([torch.empty((0, patch_values), dtype=torch.uint8), *patches]),
        torch.cat([torch.empty((0, 2), dtype=torch.int64), *grids]),
    )
