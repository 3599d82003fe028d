"""What the engine is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Literal

import torch

from idefics2.config import Idefics2Config
from idefics2.images import PackedImages
from idefics2.prompt import Prompt
from idefics2.sampling import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of a prompt, not decoded until the engine gets to it."""

    digest: str
    """Equal for equal pictures, prepared alike: what is computed of one is used for the other."""
    num_slots: int
    """`<image>` ids of all its crops."""
    load: Callable[[], PackedImages] = field(compare=False)
    """Decodes, splits and resizes it, in any thread; may be called again if memory is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prompt to continue, or continuations of it to compare."""

    id: str
    ids: tuple[int, ...]
    """The prompt's tokens, with the slots of `pictures` in their order."""
    pictures: tuple[Picture, ...] = ()
    sampling: Sampling | None = None
    """How to continue; None: the continuations are scored."""
    continuations: tuple[tuple[int, ...], ...] = ()
    """Ids after the prompt's, to score by log-likelihood."""

    def __post_init__(self) -> None:
        if (self.sampling is None) != bool(self.continuations):
            raise ValueError(f"request {self.id!r} needs either sampling or continuations")

    @property
    def num_new(self) -> int:
        """Most tokens that it adds to its prompt."""
        if self.sampling is not None:
            return self.sampling.max_new_tokens
        return max(map(len, self.continuations))

    @property
    def num_slots(self) -> int:
        return sum(picture.num_slots for picture in self.pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where a request's time went, in seconds of wall time.

    Requests work side by side: a stage counts as a whole for each that takes part in it, and is 0
    for those that find its result at hand. So the stages of many do not add up to the run.
    """

    queue_s: float = 0.0
    """From being read to its first stage on the device, but for `preprocess_s`."""
    preprocess_s: float = 0.0
    """Decoding, splitting and resizing its pictures."""
    encode_s: float = 0.0
    """Pixels to visual tokens."""
    prefill_s: float = 0.0
    """Prompt to first token, or to likelihoods."""
    first_token_s: float = 0.0
    """From the start of preprocessing (or of its first stage) to the first token."""
    decode_s: float = 0.0
    """First token to last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An answer, the likelihoods of continuations, or an error."""

    id: str
    finish_reason: Literal["stop", "length", "scored", "error"]
    ids: tuple[int, ...] = ()
    """New tokens, as in `generate.Generation`; so are the next two."""
    text: str | None = None
    logprobs: tuple[float, ...] = ()
    log_likelihoods: tuple[float, ...] = ()
    """Of each continuation, natural logarithm, summed over its ids."""
    error: str = ""
    """Class and message: "ValueError: the prompt is empty"."""
    attempt: int = 1
    """2 and more: steps of the decoder that it was in ran out of memory, and were made smaller."""
    timings: Timings = Timings()


def failed(id: str, error: BaseException, attempt: int = 1) -> Result:
    """The result of a request that ended by an error."""
    message = f"{type(error).__name__}: {error}"
    return Result(id=id, finish_reason="error", error=message, attempt=attempt)


def pictures_of(prompt: Prompt, config: Idefics2Config) -> tuple[Picture, ...]:
    """The crops of a prompt that is decoded already, each as a picture of its own."""
    pictures = []
    start = 0
    for rows, columns in prompt.grid_I2.tolist():
        patches_PK = prompt.patches_PK[start : start + rows * columns]
        start += rows * columns
        digest = blake2b(f"{rows} x {columns}: ".encode(), digest_size=16)
        digest.update(patches_PK.numpy().tobytes())
        packed = PackedImages(patches_PK, torch.tensor([(rows, columns)]))
        pictures.append(
            Picture(
                digest=digest.hexdigest(),
                num_slots=config.image_slots(rows, columns),
                load=partial(_same, packed),
            )
        )
    return tuple(pictures)


def _same(packed: PackedImages) -> PackedImages:
    return packed


def check(request: Request, config: Idefics2Config, longest: int) -> None:
    """Raises: ValueError for a request that the model, or a cache of `longest` tokens, can't take.

    Args:
        request: What is asked.
        config: Of the model.
        longest: Most tokens of a prompt with its answer that the engine has memory for.
    """
    if not request.ids:
        raise ValueError("the prompt is empty")
    check_ids(request.ids, config, "the prompt")
    for index, ids in enumerate(request.continuations):
        if not ids:
            raise ValueError(f"continuation {index} is empty")
        check_ids(ids, config, f"continuation {index}")
    if request.sampling is not None:
        check_ids([id for word in request.sampling.bad_ids for id in word], config, "bad_ids")
    num_ids = request.ids.count(config.image_id)
    if num_ids != request.num_slots:
        raise ValueError(
            f"the prompt has {num_ids} <image> ids, but its pictures take {request.num_slots}"
        )
    total = len(request.ids) + request.num_new
    if total > config.text.max_positions:
        raise ValueError(
            f"the prompt has {len(request.ids)} tokens: with {request.num_new} new ones that is "
            f"beyond the context of {config.text.max_positions}"
        )
    if total > longest:
        raise ValueError(
            f"the prompt has {len(request.ids)} tokens: with {request.num_new} new ones that is "
            f"more than the cache has room for, {longest}; give the engine more memory"
        )


def check_ids(ids: Sequence[int], config: Idefics2Config, name: str) -> None:
    """Raises: ValueError for an id outside the vocabulary."""
    size = config.text.vocab_size
    if outside := [id for id in ids if not 0 <= id < size]:
        raise ValueError(f"{name} has id {outside[0]}, outside the vocabulary of {size}")
