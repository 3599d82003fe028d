"""Generation in plain code: the reference that the engine is tested against.

Axes: B sequences, one for each prompt, T tokens, D decoder width, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from idefics2.cache import Cache
from idefics2.config import Idefics2Config
from idefics2.model import Idefics2
from idefics2.prompt import Prompt, check_ids, check_prompt
from idefics2.sampling import Completion, Decode, choose
from idefics2.sampling import Sampling as Sampling  # is part of this module's interface


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time of an answer's stages, in seconds; the first two are those of the whole batch."""

    encode_s: float
    """Pixels to visual tokens."""
    prefill_s: float
    """Prompt to first token."""
    decode_s: float
    """First token to last."""


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer."""

    ids: tuple[int, ...]
    """New tokens, without the stop id; with the tokens of a stop string."""
    text: str | None
    """Decoded, and cut before a stop string; None if no `decode` was given."""
    finish_reason: Literal["stop", "length"]
    logprobs: tuple[float, ...]
    """Natural logarithm of each id's probability under the model alone, before any setting."""
    timings: Timings


@torch.inference_mode()
def generate(
    model: Idefics2,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    decode: Decode | None = None,
) -> list[Generation]:
    """One answer to each prompt, in order; the prompts run as one batch.

    Raises: ValueError if a prompt is empty, longer than the context with its answer, has an id
        outside the vocabulary or `<image>` ids that do not match its crops; or if there are stop
        strings without `decode`.
    """
    config = model.config
    check_ids([id for word in sampling.bad_ids for id in word], config, "bad_ids")
    for index, prompt in enumerate(prompts):
        _check(prompt, sampling.max_new_tokens, config, f"prompt {index}")
    if not prompts:
        return []
    completions = [Completion(prompt.ids, sampling, decode) for prompt in prompts]
    ends = [0.0] * len(completions)
    start = now(model.device)
    visual = _encode(model, prompts)
    encoded = now(model.device)
    cache = _cache(model, prompts, sampling.max_new_tokens)
    logits_BV = model.lm_head(_prefill(model, prompts, visual, cache))
    prefilled = 0.0
    for _ in range(sampling.max_new_tokens):
        chosen = choose(logits_BV, completions)
        chosen_at = now(model.device)
        prefilled = prefilled or chosen_at
        for index, (completion, token) in enumerate(zip(completions, chosen, strict=True)):
            if completion.finish_reason is None:
                completion.append(token)
                ends[index] = chosen_at
        if all(completion.finish_reason for completion in completions):
            break
        ids_B1 = torch.tensor([[token.id] for token in chosen], device=model.device)
        logits_BV = model(ids_B1, cache=cache)[:, -1]
    return [
        _generation(completion, Timings(encoded - start, prefilled - encoded, end - prefilled))
        for completion, end in zip(completions, ends, strict=True)
    ]


@torch.inference_mode()
def log_likelihoods(
    model: Idefics2, prompt: Prompt, continuations: Sequence[Sequence[int]]
) -> list[float]:
    """Natural logarithm of each continuation's probability after the prompt, summed over its ids.

    Raises: ValueError as `generate` does, and if a continuation is empty.
    """
    for index, ids in enumerate(continuations):
        check_ids(ids, model.config, f"continuation {index}")
        if not ids:
            raise ValueError(f"continuation {index} is empty")
    longest = max(map(len, continuations), default=0)
    _check(prompt, longest, model.config, "the prompt")
    if not continuations:
        return []
    cache = _cache(model, [prompt], longest)
    first_1D = _prefill(model, [prompt], _encode(model, [prompt]), cache)
    cache.repeat(len(continuations))
    ids_BT, segments_BT = _pad(continuations, model.device)
    x_BTD = model.hidden_states(ids_BT, segments_BT, cache=cache)
    # The prompt predicts the first id, and each id the next.
    first_B1D = first_1D[:, None].expand(len(continuations), -1, -1)
    logits_BTV = model.lm_head(torch.cat([first_B1D, x_BTD[:, :-1]], 1))
    logprobs_BTV = logits_BTV.float().log_softmax(-1)
    logprobs_BT = logprobs_BTV.gather(-1, ids_BT[..., None])[..., 0]
    sums: list[float] = (logprobs_BT * segments_BT).sum(-1).tolist()
    return sums


def _check(prompt: Prompt, max_new_tokens: int, config: Idefics2Config, name: str) -> None:
    crop_slots = [config.image_slots(rows, columns) for rows, columns in prompt.grid_I2.tolist()]
    check_prompt(prompt.ids, crop_slots, max_new_tokens, config, name)


def _generation(completion: Completion, timings: Timings) -> Generation:
    assert completion.finish_reason is not None
    logprobs = tuple(token.logprob for token in completion.tokens)
    return Generation(completion.ids, completion.text, completion.finish_reason, logprobs, timings)


def _encode(model: Idefics2, prompts: Sequence[Prompt]) -> Tensor | None:
    """Visual tokens of all crops. Prompt by prompt, so that memory does not grow with the batch."""
    visual = [
        model.encode_images(prompt.patches_PK, prompt.grid_I2)
        for prompt in prompts
        if len(prompt.grid_I2)
    ]
    return torch.cat(visual) if visual else None


def _cache(model: Idefics2, prompts: Sequence[Prompt], num_new: int) -> Cache:
    capacity = max(len(prompt.ids) for prompt in prompts) + num_new
    return Cache(model.config.text, len(prompts), capacity, dtype=model.dtype, device=model.device)


def _prefill(
    model: Idefics2, prompts: Sequence[Prompt], visual: Tensor | None, cache: Cache
) -> Tensor:
    """The hidden state [B, D] of each prompt's last token; the cache takes the prompts."""
    lengths = [len(prompt.ids) for prompt in prompts]
    ids_BT, segments_BT = _pad([prompt.ids for prompt in prompts], model.device)
    is_ragged = min(lengths) < max(lengths)
    x_BTD = model.hidden_states(ids_BT, segments_BT if is_ragged else None, visual, cache)
    return x_BTD[torch.arange(len(prompts)), torch.tensor(lengths) - 1]


def _pad(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and segments [B, T] of sequences, right-padded."""
    longest = max(map(len, rows))
    ids = [[*row, *[0] * (longest - len(row))] for row in rows]
    segments = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(segments, device=device)


def now(device: torch.device) -> float:
    """Seconds on a steady clock, once the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
