"""One length bucket from prefill to the last token: the scheduler's steps, carried out.

Axes: W tokens whose hidden states are wanted, D decoder width, B sequences, V vocabulary.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from idefics2.engine.attribution import DeviceTime
from idefics2.engine.batch import DecodeBatch, PrefillBatch, pack, scored_pairs
from idefics2.engine.encoder_cache import EncoderCache
from idefics2.engine.limits import is_shortage
from idefics2.engine.model_runner import ModelRunner
from idefics2.engine.planner import LengthBucket
from idefics2.engine.prefill_images import PrefillImages
from idefics2.engine.request import Result
from idefics2.engine.scheduler import Chunk, PrefillStep, Scheduler
from idefics2.engine.sequence import Sequence
from idefics2.engine.stats import EngineStats
from idefics2.generate import now
from idefics2.sampling import Completion, Token, check_numbers, choose


class Decoding:
    """The sequences of a bucket in the KV-cache slots of a model runner."""

    def __init__(
        self,
        bucket: LengthBucket,
        sequences: list[Sequence],
        runner: ModelRunner,
        encoder: EncoderCache,
        image_uses: Counter[str],
        stats: EngineStats,
        *,
        prefill_tokens: int,
        one_by_one: bool,
        is_profiled: bool,
    ) -> None:
        """A bucket before its first step.

        Args:
            bucket: Prompts in the order of prefill.
            sequences: Those of the planning batch, which the prompts' `index` counts.
            runner: With a KV cache of the bucket's slot size.
            encoder: Visual tokens.
            image_uses: How many requests of the planning batch still need each image.
            stats: Where steps and seconds are counted.
            prefill_tokens: Of a prefill step, at most.
            one_by_one: Whether a prefill step has one chunk.
            is_profiled: Whether choosing tokens is timed apart.
        """
        self._sequences, self._runner, self._encoder = sequences, runner, encoder
        self._images = PrefillImages(encoder, sequences, crosses=runner.crosses)
        self._image_uses, self._stats, self._is_profiled = image_uses, stats, is_profiled
        self._prompts = [sequence.request.ids for sequence in sequences]
        self._continuations = [sequence.request.continuations for sequence in sequences]
        self._scheduler = Scheduler(
            bucket.prompts, runner.cache.num_slots, prefill_tokens, one_by_one=one_by_one
        )
        self._device_time = DeviceTime(bucket.prompts, sequences)
        self._running: dict[int, Sequence] = {}
        self._refused: dict[int, Exception] = {}

    def results(self) -> Iterator[Result]:
        """One result for each prompt, as they finish."""
        while True:
            if self._scheduler.should_prefill:
                yield from self._prefill()
            elif self._running:
                yield from self._decode()
            else:
                return

    def _prefill(self) -> Iterator[Result]:
        """Computes the prompts that come next, as many as fit."""
        yield from self._admit()
        step = self._scheduler.close_step()
        if step is None:
            return
        self._encoder.flush()
        self._device_time.encoded(self._encoder.take_spent())
        needed = (image for chunk in step.chunks for image in self._images.needed(chunk))
        if any(self._encoder.is_broken(image) for image in needed):
            self._scheduler.requeue(step)  # broken prompts are dropped when they come again
            return
        start = now(self._runner.device)
        batch = pack(step, self._prompts, self._continuations, self._runner.cache.prefix_slot)
        try:
            x_WD = self._runner.prefill(batch, self._images.inputs(step, batch))
            scores = self._scores(step, batch, x_WD)
            first_tokens = self._first_tokens(step, batch, x_WD)
        except Exception as error:
            if not is_shortage(error):
                raise
            self._shrink_prefill(step, error)
            return
        seconds = now(self._runner.device) - start
        self._stats.count_prefill(len(batch.ids), seconds)
        self._device_time.prefilled(step, seconds)
        yield from self._start(step, scores, first_tokens, seconds)

    def _admit(self) -> Iterator[Result]:
        """Fills the open step; gives the errors of prompts that are dropped."""
        opened_at = time.perf_counter()
        while (chunk := self._scheduler.next_chunk()) is not None:
            sequence = self._sequences[chunk.prompt.index]
            try:
                self._request_images(sequence, chunk)
            except Exception as error:  # the sample boundary
                self._scheduler.drop()
                self._release_images(sequence)
                yield sequence.failed(error)
            else:
                sequence.scheduled_at = sequence.scheduled_at or opened_at
                self._scheduler.admit()
                self._encoder.encode_full_batches()
                self._device_time.encoded(self._encoder.take_spent())

    def _request_images(self, sequence: Sequence, chunk: Chunk) -> None:
        """Raises: what makes the chunk impossible to compute."""
        if chunk.prompt.index in self._refused:
            raise self._refused[chunk.prompt.index]
        for image in self._images.needed(chunk):
            encoded = self._encoder.request(image)
            if encoded is not None:
                sequence.encoded.append(encoded)

    def _scores(
        self, step: PrefillStep, batch: PrefillBatch, x_WD: Tensor
    ) -> dict[int, tuple[float, ...]]:
        """Log-likelihoods of continuations, by their prompt's index."""
        scored = [
            (chunk.prompt.index, pairs)
            for chunk, places in zip(step.chunks, batch.output_places(), strict=True)
            if places and chunk.prompt.branches
            for pairs in scored_pairs(places, self._continuations[chunk.prompt.index])
        ]
        logprobs = iter(self._runner.score(x_WD, [pair for _, pairs in scored for pair in pairs]))
        sums: dict[int, tuple[float, ...]] = {}
        for index, pairs in scored:
            sums[index] = (*sums.get(index, ()), sum(islice(logprobs, len(pairs))))
        return sums

    def _first_tokens(
        self, step: PrefillStep, batch: PrefillBatch, x_WD: Tensor
    ) -> dict[int, Token]:
        """The first token of each answer, by its prompt's index."""
        asked = {
            chunk.prompt.index: places[0]
            for chunk, places in zip(step.chunks, batch.output_places(), strict=True)
            if places and not chunk.prompt.branches
        }
        if not asked:
            return {}
        logits_BV = self._runner.logits(x_WD, list(asked.values()))
        completions = [self._sequences[index].completion for index in asked]
        tokens = self._choose("prefill_sampling", logits_BV, completions)
        return dict(zip(asked, tokens, strict=True))

    def _choose(
        self, stage: str, logits_BV: Tensor, completions: Iterable[Completion | None]
    ) -> list[Token]:
        start = now(self._runner.device) if self._is_profiled else 0.0
        tokens = choose(logits_BV, [one for one in completions if one is not None])
        if self._is_profiled:
            self._stats.add_seconds(stage, now(self._runner.device) - start)
        return tokens

    def _start(
        self,
        step: PrefillStep,
        scores: dict[int, tuple[float, ...]],
        first_tokens: dict[int, Token],
        seconds: float,
    ) -> Iterator[Result]:
        """Gives what the prefill completed; the other sequences run from here on."""
        prefilled_at = time.perf_counter()
        for chunk in step.chunks:
            prompt = chunk.prompt
            sequence = self._sequences[prompt.index]
            sequence.prefill_s += seconds
            if not chunk.is_last:
                continue
            self._release_images(sequence)
            self._stats.count_request(prompt.length + sum(prompt.branches))
            sequence.first_token_at = prefilled_at
            if prompt.index in scores:
                yield _scored(sequence, prefilled_at, scores[prompt.index])
                continue
            if chunk.slot is not None:
                self._running[chunk.slot] = sequence
            token = first_tokens[prompt.index]
            yield from self._append(sequence, token, chunk.slot, prefilled_at)

    def _decode(self) -> Iterator[Result]:
        """Adds a token to each running sequence."""
        start = now(self._runner.device)
        for source, target in self._scheduler.compact():
            moved = self._running.pop(source)
            self._running[target] = moved
            self._runner.move(source, target, moved.num_tokens - 1)
        slots = sorted(self._running)
        running = [self._running[slot] for slot in slots]
        batch = DecodeBatch(
            slots, [one.num_tokens - 1 for one in running], [one.last_id for one in running]
        )
        try:
            logits_BV = self._runner.decode(batch)
        except Exception as error:
            if not is_shortage(error) or not self._shrink_decode(running):
                raise
            return
        tokens = self._choose("decode_sampling", logits_BV, [one.completion for one in running])
        end = now(self._runner.device)
        self._stats.count_decode(len(tokens), end - start)
        self._device_time.decoded(running, end - start)
        for slot, sequence, token in zip(slots, running, tokens, strict=True):
            yield from self._append(sequence, token, slot, end)

    def _append(
        self, sequence: Sequence, token: Token, slot: int | None, at: float
    ) -> Iterator[Result]:
        """Adds a token; gives the result if it is the last."""
        assert sequence.completion is not None
        error: Exception | None = None
        try:
            sequence.completion.append(token)
        except Exception as caught:  # the sample boundary
            error = caught
        if error is None and sequence.completion.finish_reason is None:
            return
        if slot is not None:
            del self._running[slot]
            self._scheduler.finish(slot)
            if isinstance(error, FloatingPointError):
                self._runner.cache.clear(slot)
        if error is None:
            yield sequence.result(at)
        else:
            yield sequence.failed(error)

    def _release_images(self, sequence: Sequence) -> None:
        """Evicts the images that this request was the last to need."""
        sequence.is_waiting = False
        for image in sequence.request.images:
            self._stats.num_crops_requested += self._encoder.num_crops(image)
        for digest in {image.digest for image in sequence.request.images}:
            self._image_uses[digest] -= 1
            if not self._image_uses[digest]:
                self._encoder.evict(digest)

    def _shrink_prefill(self, step: PrefillStep, error: Exception) -> None:
        """Halves prefill steps from now on; a chunk that is too long alone is an error."""
        torch.cuda.empty_cache()
        self._scheduler.requeue(step)
        num_tokens = sum(chunk.num_tokens for chunk in step.chunks)
        for index in {chunk.prompt.index for chunk in step.chunks}:
            self._sequences[index].attempt += 1
        if len(step.chunks) > 1:
            self._scheduler.prefill_tokens = num_tokens // 2
        else:
            self._refused[step.chunks[0].prompt.index] = error
        self._stats.shortages.append(f"prefill of {num_tokens} tokens, {len(step.chunks)} prompts")

    def _shrink_decode(self, running: list[Sequence]) -> bool:
        """Halves decode batches from now on; False if they have one sequence already."""
        size = min(len(running), self._runner.max_decode_batch)
        if size == 1:
            return False
        torch.cuda.empty_cache()
        for sequence in running:
            sequence.attempt += 1
        self._runner.max_decode_batch = size // 2
        self._stats.shortages.append(f"decoding {size} sequences; half at once from now on")
        return True


def _scored(sequence: Sequence, at: float, scores: tuple[float, ...]) -> Result:
    try:
        check_numbers(scores)
    except FloatingPointError as error:
        return sequence.failed(error)
    return sequence.result(at, log_likelihoods=scores)
