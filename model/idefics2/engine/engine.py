"""Answers to many requests, with nothing computed twice.

Requests are planned in batches of some thousands. Within one, each image is decoded and encoded
once, and each prefix that prompts share is prefilled once.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from idefics2 import onednn
from idefics2.engine.crop_cache import CropCache
from idefics2.engine.decoding import Decoding
from idefics2.engine.encoder_cache import EncoderCache
from idefics2.engine.image_loader import ImageLoader
from idefics2.engine.kv_cache import KVCache
from idefics2.engine.limits import Limits, is_shortage, keep_freed_memory
from idefics2.engine.model_runner import ModelRunner
from idefics2.engine.planner import LengthBucket
from idefics2.engine.request import Request, Result
from idefics2.engine.sequence import PlanningBatch, RequestReader
from idefics2.engine.stats import EngineStats
from idefics2.model import Idefics2
from idefics2.sampling import Decode

PLANNING_BATCH = 4096
"""Requests that are planned together: their ids are in memory, their images are not."""

MAX_THREADS = 8


class Engine:
    """A model that answers requests in batches.

    Batches change the order of sums, so an answer may differ from one run to the next where two
    tokens are all but equally likely. With `deterministic` no result depends on what else is asked:
    prompts are prefilled one at a time and cut behind their last image, crops are encoded one at a
    time, and decode batches have a fixed size.
    """

    def __init__(
        self,
        model: Idefics2,
        limits: Limits | None = None,
        *,
        deterministic: bool = False,
        decode: Decode | None = None,
        planning_batch: int = PLANNING_BATCH,
        num_threads: int | None = None,
    ) -> None:
        """An engine without requests.

        Args:
            model: In evaluation mode, on its device; it is prepared for the CPU it is on.
            limits: Of memory; `Limits.of(model)` if None.
            deterministic: Whether answers must not depend on what else is asked.
            decode: From ids to text, for stop strings and the text of answers.
            planning_batch: Requests that are planned together.
            num_threads: That decode images; as many as there are cores, up to 8, if None.
        """
        self._model = onednn.prepare(model)
        self._limits = limits or Limits.of(model)
        self._deterministic, self._decode = deterministic, decode
        self._planning_batch = planning_batch
        self._num_threads = num_threads or min(MAX_THREADS, os.cpu_count() or 1)
        if model.device.type == "cpu":
            keep_freed_memory()
        self._is_running = False
        self._runner: ModelRunner | None = None
        self._packed = onednn.PackedWeights(model.text_model, model.lm_head)
        self.is_profiled = False
        """True: connector and sampling are timed apart, which waits for the device more often."""
        self.stats = EngineStats()
        """Totals over all runs."""

    def run(self, requests: Iterable[Request]) -> Generator[Result, None, None]:
        """One result for each request, as they finish; what is wrong with one is its result.

        Requests are read some planning batches ahead, in a thread. The results do not depend on
        the order of a batch's requests; requests about the same images should come together.

        Raises: RuntimeError while another run of this engine is neither at its end nor closed.
        """
        if self._is_running:
            raise RuntimeError(
                "this engine still runs: take the results of its last run to their end, or close "
                "that run"
            )
        self._is_running = True
        try:
            yield from self._run(requests)
        finally:
            self._is_running = False

    def _run(self, requests: Iterable[Request]) -> Iterator[Result]:
        self._packed.refresh()
        threads, ahead = ThreadPoolExecutor(self._num_threads), ThreadPoolExecutor(1)
        reader = RequestReader(
            iter(requests),
            self._model.config,
            size=self._planning_batch,
            longest=self._limits.longest,
            fixed_shapes=self._deterministic,
            decode=self._decode,
        )
        try:
            loader = ImageLoader(threads, self._num_threads, self._limits.waiting_patches)
            encoder = EncoderCache(
                self._model,
                loader,
                self.stats,
                max_patches=self._limits.patches,
                max_tokens=self._limits.visual_tokens,
                one_by_one=self._deterministic,
                is_profiled=self.is_profiled,
            )
            future = ahead.submit(reader.read)
            while (batch := future.result()) is not None:
                future = ahead.submit(reader.read)
                yield from batch.failed
                loader.expect(batch.images())
                yield from self._answer(batch, encoder)
        finally:
            reader.stop()
            for pool in (threads, ahead):
                pool.shutdown(wait=False, cancel_futures=True)
            for pool in (threads, ahead):
                pool.shutdown()

    def _answer(self, batch: PlanningBatch, encoder: EncoderCache) -> Iterator[Result]:
        image_uses = batch.image_uses()
        for bucket in batch.buckets:
            decoding = Decoding(
                bucket,
                batch.sequences,
                self._runner_for(bucket),
                encoder,
                image_uses,
                self.stats,
                prefill_tokens=self._limits.prefill_tokens,
                one_by_one=self._deterministic,
                is_profiled=self.is_profiled,
            )
            yield from decoding.results()

    def _runner_for(self, bucket: LengthBucket) -> ModelRunner:
        """A runner with the slots that a bucket needs: the last one, if its KV cache will do."""
        slot_tokens = min(bucket.slot_tokens, self._limits.longest)
        needed = slot_tokens + CropCache.slot_tokens(self._model.config)
        most = min(self._limits.running, self._limits.cache_tokens // needed - 1)
        num_slots = max(1, min(most, sum(prompt.needs_slot for prompt in bucket.prompts)))
        if self._runner is not None:
            cache = self._runner.cache
            if cache.slot_tokens == slot_tokens and cache.num_slots >= num_slots:
                return self._runner
        self._runner = None  # frees its KV cache
        cache, crops = self._new_caches(num_slots, slot_tokens)
        self._runner = ModelRunner(
            self._model, cache, crops, self._packed, fixed_shapes=self._deterministic
        )
        return self._runner

    def _new_caches(self, num_slots: int, slot_tokens: int) -> tuple[KVCache, CropCache | None]:
        """Caches of so many slots, or of fewer where memory runs out."""
        config, dtype, device = self._model.config, self._model.dtype, self._model.device
        while True:
            try:
                cache = KVCache(config.text, num_slots, slot_tokens, dtype=dtype, device=device)
                if not config.num_gated_blocks:
                    return cache, None
                return cache, CropCache(config, num_slots, dtype=dtype, device=device)
            except Exception as error:
                if num_slots == 1 or not is_shortage(error):
                    raise
                self.stats.shortages.append(
                    f"{num_slots} KV-cache slots of {slot_tokens} tokens; half from now on"
                )
                num_slots //= 2
