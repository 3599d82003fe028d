"""The state of requests on their way through the engine, and reading them ahead in batches."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from idefics2.config import Idefics2Config
from idefics2.engine.encoder_cache import EncodedImage
from idefics2.engine.planner import (
    LengthBucket,
    PlannedPrompt,
    image_numbers,
    plan,
    prefix_keys,
)
from idefics2.engine.request import LazyImage, Request, Result, Timings, check, failed
from idefics2.sampling import Completion, Decode

FIRST_SIZE = 256
"""Requests of the first planning batch, which the device waits for."""

GROWTH = 4
"""How many times as large as the one before a planning batch is, up to its full size."""


@dataclass(slots=True)
class Sequence:
    """A request's state: its prompt, its answer so far, and its times."""

    request: Request
    arrived_at: float
    """This and other times are those of `time.perf_counter`."""
    image_positions: tuple[int, ...]
    """Positions of `<image>` ids."""
    completion: Completion | None
    """Its answer; None: continuations are scored."""
    scheduled_at: float = 0.0
    """When the first step that prefills it was opened."""
    encoded: list[EncodedImage] = field(default_factory=list)
    """Images that were decoded and encoded for it: no earlier request had them."""
    prefill_s: float = 0.0
    first_token_at: float = 0.0
    device_s: float = 0.0
    is_waiting: bool = True
    """False once its prompt is prefilled, or given up."""
    attempt: int = 1

    @property
    def num_tokens(self) -> int:
        """Tokens of its prompt and its answer so far."""
        return len(self.request.ids) + (len(self.completion.tokens) if self.completion else 0)

    @property
    def last_id(self) -> int:
        """The last token of its answer so far."""
        assert self.completion is not None
        return self.completion.tokens[-1].id

    def image_positions_between(self, start: int, stop: int) -> tuple[int, ...]:
        """Positions of `<image>` ids among these tokens."""
        first = bisect_left(self.image_positions, start)
        return self.image_positions[first : bisect_left(self.image_positions, stop)]

    def images_between(self, start: int, stop: int) -> Iterator[tuple[LazyImage, range]]:
        """Images with `<image>` ids among these tokens, and which of the image's ids those are."""
        first = bisect_left(self.image_positions, start)
        last = bisect_left(self.image_positions, stop)
        for image in self.request.images:
            places = range(max(first, 0), min(last, image.num_tokens))
            if places:
                yield image, places
            first, last = first - image.num_tokens, last - image.num_tokens

    def crops_seen_between(self, start: int, stop: int) -> Iterator[tuple[LazyImage, int, range]]:
        """An image, one of its crops, and those of these tokens whose last crop that is.

        For the cross-attention architecture, in which a crop takes one `<image>` id.
        """
        crops = ((image, crop) for image in self.request.images for crop in range(image.num_tokens))
        bounds = pairwise((*self.image_positions, len(self.request.ids)))
        for (image, crop), (first, end) in zip(crops, bounds, strict=True):
            tokens = range(max(first, start), min(end, stop))
            if tokens:
                yield image, crop, tokens

    def result(self, ended_at: float, log_likelihoods: tuple[float, ...] = ()) -> Result:
        """The result of a sequence whose last token was there at the given time."""
        starts = [encoded.started_at for encoded in self.encoded]
        preprocess_s = sum(encoded.preprocess_s for encoded in self.encoded)
        timings = Timings(
            queue_s=max(0.0, self.scheduled_at - self.arrived_at - preprocess_s),
            preprocess_s=preprocess_s,
            encode_s=sum(encoded.encode_s for encoded in self.encoded),
            prefill_s=self.prefill_s,
            first_token_s=self.first_token_at - min([self.scheduled_at, *starts]),
            decode_s=ended_at - self.first_token_at,
        )
        if self.completion is None:
            return Result(
                id=self.request.id,
                finish_reason="scored",
                log_likelihoods=log_likelihoods,
                timings=timings,
                device_s=self.device_s,
                attempt=self.attempt,
            )
        assert self.completion.finish_reason is not None
        return Result(
            id=self.request.id,
            finish_reason=self.completion.finish_reason,
            ids=self.completion.ids,
            text=self.completion.text,
            logprobs=tuple(token.logprob for token in self.completion.tokens),
            timings=timings,
            device_s=self.device_s,
            attempt=self.attempt,
        )

    def failed(self, error: BaseException) -> Result:
        """The result of a sequence that an error ended."""
        return failed(self.request.id, error, self.attempt, self.device_s)


@dataclass(slots=True)
class PlanningBatch:
    """Requests that are planned together."""

    sequences: list[Sequence] = field(default_factory=list)
    failed: list[Result] = field(default_factory=list)
    """Results of requests that cannot be taken."""
    buckets: list[LengthBucket] = field(default_factory=list)

    def images(self) -> Iterator[LazyImage]:
        """Each image once, in the order in which they are first needed."""
        seen: set[str] = set()
        for prompt in (prompt for bucket in self.buckets for prompt in bucket.prompts):
            for image in self.sequences[prompt.index].request.images:
                if image.digest not in seen:
                    seen.add(image.digest)
                    yield image

    def image_uses(self) -> Counter[str]:
        """How many requests each image, by its digest, is part of."""
        digests = ({image.digest for image in s.request.images} for s in self.sequences)
        return Counter(digest for several in digests for digest in several)


class RequestReader:
    """Cuts the request stream into planning batches; neighbours with common images stay together.

    The first batch is small, so that the device soon has work, and the next ones grow.
    """

    def __init__(
        self,
        requests: Iterator[Request],
        config: Idefics2Config,
        *,
        size: int,
        longest: int,
        fixed_shapes: bool,
        decode: Decode | None,
    ) -> None:
        """A reader of a stream.

        Args:
            requests: The stream.
            config: The model's.
            size: Requests of a planning batch, once it is grown.
            longest: Most tokens of a prompt with its answer.
            fixed_shapes: Whether a prompt is cut behind its last image, whatever others share.
            decode: From ids to text, for stop strings and the text of answers.
        """
        self._requests, self._config, self._size = requests, config, size
        self._longest, self._fixed_shapes, self._decode = longest, fixed_shapes, decode
        self._held: Request | None = None
        self._next_size = min(size, FIRST_SIZE)
        self._is_stopped = False

    def stop(self) -> None:
        """Reads no further; a batch that is being read ends early."""
        self._is_stopped = True

    def read(self) -> PlanningBatch | None:
        """The next batch with its plan; None at the end. Runs ahead, in a thread."""
        batch = PlanningBatch()
        size = self._next_size
        self._next_size = min(self._size, size * GROWTH)
        last: Request | None = None
        while (request := self._take()) is not None:
            is_full = len(batch.sequences) >= size
            is_apart = last is None or not set(last.images) & set(request.images)
            if is_full and (is_apart or len(batch.sequences) >= 2 * size):
                self._held = request
                break
            last = request
            try:
                batch.sequences.append(self._sequence(request))
            except Exception as error:  # the sample boundary
                batch.failed.append(failed(request.id, error))
        if last is None:
            return None
        batch.buckets = plan(self._planned(batch.sequences))
        return batch

    def _take(self) -> Request | None:
        if self._is_stopped:
            return None
        held, self._held = self._held, None
        return next(self._requests, None) if held is None else held

    def _sequence(self, request: Request) -> Sequence:
        check(request, self._config, self._longest)
        completion = None
        if request.sampling is not None:
            completion = Completion(request.ids, request.sampling, self._decode)
        image_id = self._config.image_id
        positions = tuple(place for place, id in enumerate(request.ids) if id == image_id)
        return Sequence(request, time.perf_counter(), positions, completion)

    def _planned(self, sequences: list[Sequence]) -> list[PlannedPrompt]:
        numbers = image_numbers(
            (sequence.request.id, image.digest)
            for sequence in sequences
            for image in sequence.request.images
        )
        prompts = []
        for index, sequence in enumerate(sequences):
            request, positions = sequence.request, sequence.image_positions
            images = [(image.digest, image.num_tokens) for image in request.images]
            behind_images = positions[-1] + 1 if positions else 0
            prompt = PlannedPrompt(
                index=index,
                id=request.id,
                keys=prefix_keys(request.ids, positions, images, numbers),
                max_new_tokens=request.max_new_tokens,
                branches=tuple(len(ids) - 1 for ids in request.continuations),
                cut=min(behind_images, len(request.ids) - 1) if self._fixed_shapes else None,
            )
            prompts.append(prompt)
        return prompts
