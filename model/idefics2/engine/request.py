"""Requests to the engine and their results.

image = lazy_image(processor, digest, file.decode)
prompt = processor.chat([Message("user", (image.slots, "How many?"))])
Request(id="1", ids=prompt.ids, images=(image,), sampling=sampling)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Literal

import torch
from PIL import Image

from idefics2.config import Idefics2Config
from idefics2.images import ImageSettings, PackedImages, pack
from idefics2.processor import Processor
from idefics2.prompt import Prompt, Slots, check_ids, check_prompt
from idefics2.sampling import Sampling
from idefics2.thinning import Thinning


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyImage:
    """A prompt's image, which is decoded when the engine gets to it."""

    digest: str
    """Equal for equal images that are prepared alike: they are encoded once."""
    slots: Slots
    """Stands for the image in a message, and says how many `<image>` ids each crop takes."""
    load: Callable[[], PackedImages] = field(compare=False)
    """Decodes, splits and resizes it. Called in a thread, and again if memory is short."""
    kept: tuple[tuple[int, ...], ...] | None = None
    """Indices of each crop's visual tokens that the prompt holds; None: all of them."""

    @property
    def num_tokens(self) -> int:
        """Number of `<image>` ids of all its crops."""
        return sum(self.slots.crops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prompt to continue, or one with continuations to score."""

    id: str
    ids: tuple[int, ...]
    """Prompt tokens, with the `<image>` ids of `images` in their order."""
    images: tuple[LazyImage, ...] = ()
    sampling: Sampling | None = None
    """How to generate; None: `continuations` are scored."""
    continuations: tuple[tuple[int, ...], ...] = ()
    """Token ids that may follow the prompt, to be scored by log-likelihood."""

    def __post_init__(self) -> None:
        if (self.sampling is None) != bool(self.continuations):
            raise ValueError(f"request {self.id!r} needs either sampling or continuations")

    @property
    def max_new_tokens(self) -> int:
        """Most tokens that follow the prompt."""
        if self.sampling is not None:
            return self.sampling.max_new_tokens
        return max(map(len, self.continuations))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Wall time that a request spent in each stage, in seconds.

    Requests are computed in batches: a batch's time counts in full for every request in it, and is
    0 for one that finds the result cached. So the times of many requests exceed those of the run.
    """

    queue_s: float = 0.0
    """Arrival to the first stage on the device, without `preprocess_s`."""
    preprocess_s: float = 0.0
    """Decoding, splitting and resizing its images."""
    encode_s: float = 0.0
    """Pixels to visual tokens."""
    prefill_s: float = 0.0
    """Prompt to first token, or to log-likelihoods."""
    first_token_s: float = 0.0
    """Start of preprocessing (or of the first stage) to the first token."""
    decode_s: float = 0.0
    """First token to last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An answer, the log-likelihoods of continuations, or an error."""

    id: str
    finish_reason: Literal["stop", "length", "scored", "error"]
    ids: tuple[int, ...] = ()
    """New tokens; this, `text` and `logprobs` are as in `generate.Generation`."""
    text: str | None = None
    logprobs: tuple[float, ...] = ()
    log_likelihoods: tuple[float, ...] = ()
    """Natural logarithm of each continuation's probability, summed over its ids."""
    error: str = ""
    """Class and message: "ValueError: the prompt is empty"."""
    attempt: int = 1
    """2 and more: memory ran out in the request's batches, and they were made smaller."""
    timings: Timings = Timings()
    device_s: float = 0.0
    """Its part of the time of all steps that served it: what is shared is divided by its users, so
    that the results of a run add up to the seconds of encode, prefill and decode."""


def failed(id: str, error: BaseException, attempt: int = 1, device_s: float = 0.0) -> Result:
    """The result of a request that an error ended."""
    message = f"{type(error).__name__}: {error}"
    return Result(id=id, finish_reason="error", error=message, attempt=attempt, device_s=device_s)


def lazy_image(
    processor: Processor,
    digest: str,
    decode: Callable[[], Image.Image],
    thinning: Thinning | None = None,
) -> LazyImage:
    """An image that is decoded in a thread, perhaps more than once; equal ones have one digest.

    With `thinning` a part of its visual tokens is dropped once it is encoded. Without a resampler
    the number of `<image>` ids depends on the image's size: then it is decoded here, too.

    Raises: ValueError as `images.pack`, and what `decode` raises; with a resampler it is the engine
        that gets these errors.
    """
    config, load = processor.config, partial(_load, decode, processor.images)
    if config.connector == "perceiver":
        grid = [[1, 1]] * processor.images.num_crops  # any size takes as many ids
    else:
        grid = load().grid_I2.tolist()
    crops = tuple(config.image_slots(rows, columns) for rows, columns in grid)
    kept = None if thinning is None else thinning.kept(digest, crops)
    slots = Slots(crops if kept is None else tuple(map(len, kept)))
    return LazyImage(digest=digest, slots=slots, load=load, kept=kept)


def images_of(prompt: Prompt, config: Idefics2Config) -> tuple[LazyImage, ...]:
    """The crops of a prompt whose images are decoded already, each as an image of its own."""
    images = []
    start = 0
    for rows, columns in prompt.grid_I2.tolist():
        patches_PK = prompt.patches_PK[start : start + rows * columns]
        start += rows * columns
        digest = blake2b(f"{rows} x {columns}: ".encode(), digest_size=16)
        digest.update(patches_PK.numpy().tobytes())
        packed = PackedImages(patches_PK, torch.tensor([(rows, columns)]))
        slots = Slots((config.image_slots(rows, columns),))
        images.append(
            LazyImage(digest=digest.hexdigest(), slots=slots, load=partial(_same, packed))
        )
    return tuple(images)


def _load(decode: Callable[[], Image.Image], settings: ImageSettings) -> PackedImages:
    return pack([decode()], settings)


def _same(packed: PackedImages) -> PackedImages:
    return packed


def check(request: Request, config: Idefics2Config, longest: int) -> None:
    """Raises: ValueError for a request that the model, or a KV-cache slot of `longest`, can't take.

    Args:
        request: What is asked.
        config: The model's.
        longest: Most tokens of a prompt with its answer that the KV cache has room for.
    """
    for index, ids in enumerate(request.continuations):
        if not ids:
            raise ValueError(f"continuation {index} is empty")
        check_ids(ids, config, f"continuation {index}")
    if request.sampling is not None:
        check_ids([id for word in request.sampling.bad_ids for id in word], config, "bad_ids")
    crop_tokens = [number for image in request.images for number in image.slots.crops]
    check_prompt(request.ids, crop_tokens, request.max_new_tokens, config, "the prompt")
    if len(request.ids) + request.max_new_tokens > longest:
        raise ValueError(
            f"the prompt has {len(request.ids)} tokens: with {request.max_new_tokens} new ones "
            f"that is more than the cache has room for, {longest}; give the engine more memory"
        )
