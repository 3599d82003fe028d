"""Answers to many requests, with nothing computed twice.

Requests are planned in windows of some thousands. Within one, each picture is decoded and encoded
once, and each beginning that prompts have in common is read once.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from idefics2.engine.decoding import Answering
from idefics2.engine.encoder_cache import Encoder, Loader
from idefics2.engine.fallback import answer_plainly
from idefics2.engine.few_rows import FewRows
from idefics2.engine.kv_cache import Rows
from idefics2.engine.limits import Budget
from idefics2.engine.memory import is_shortage, keep_freed_memory
from idefics2.engine.model_runner import Runner
from idefics2.engine.planner import Pass
from idefics2.engine.request import Request, Result
from idefics2.engine.sequence import Window, Windows
from idefics2.engine.stats import Work
from idefics2.model import Idefics2
from idefics2.sampling import Decode

WINDOW = 4096
"""Requests that are planned together: their ids are in memory, their pictures are not."""

MAX_THREADS = 8


class Engine:
    """A model that answers requests side by side.

    Batches change the order of sums, so an answer may differ from one run to the next where two
    tokens are all but equally likely; `deterministic` rules that out: it reads one prompt at a
    time, cut behind its last picture, encodes one crop at a time, and goes on with answers by a
    fixed number, so that no result depends on what else is asked.

    The cross-attention architecture keeps no keys of pictures in its prompts' prefixes; its
    requests are answered one by one by `generate`.
    """

    def __init__(
        self,
        model: Idefics2,
        budget: Budget | None = None,
        *,
        deterministic: bool = False,
        decode: Decode | None = None,
        window: int = WINDOW,
        num_threads: int | None = None,
    ) -> None:
        """An engine without requests.

        Args:
            model: In evaluation mode, on its device.
            budget: `Budget.of(model)` if None.
            deterministic: Whether answers must not depend on what else is asked.
            decode: From ids to text, for stop strings and the text of answers.
            window: Requests that are planned together.
            num_threads: That decode pictures; as many as there are cores, up to 8, if None.
        """
        self._model = model
        self._budget = budget or Budget.of(model)
        self._deterministic, self._decode, self._window = deterministic, decode, window
        self._num_threads = num_threads or min(MAX_THREADS, os.cpu_count() or 1)
        if model.device.type == "cpu":
            keep_freed_memory()
        self._is_running = False
        self._runner: Runner | None = None
        self._few_rows = FewRows(model.text_model, model.lm_head)
        self.is_profiled = False
        """Whether connector and choice of tokens are timed apart: it waits for the device more."""
        self.work = Work()
        """What was done so far, in all runs."""

    def run(self, requests: Iterable[Request]) -> Generator[Result, None, None]:
        """One result for each request, as they finish; what is wrong with one is its result.

        Requests are read some windows ahead, in a thread. The results do not depend on the order
        of a window's requests; requests about the same pictures should come together.

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
        self._few_rows.refresh()
        threads, reader = ThreadPoolExecutor(self._num_threads), ThreadPoolExecutor(1)
        windows = Windows(
            iter(requests),
            self._model.config,
            size=self._window,
            longest=self._budget.longest,
            fixed_shapes=self._deterministic,
            decode=self._decode,
        )
        try:
            loader = Loader(threads, self._num_threads, self._budget.waiting_patches)
            encoder = Encoder(
                self._model,
                loader,
                self.work,
                max_patches=self._budget.patches,
                max_tokens=self._budget.visual_tokens,
                one_by_one=self._deterministic,
                is_profiled=self.is_profiled,
            )
            ahead = reader.submit(windows.read)
            while (window := ahead.result()) is not None:
                ahead = reader.submit(windows.read)
                yield from window.failed
                if self._model.config.architecture == "cross_attention":
                    yield from answer_plainly(self._model, window, self._decode)
                else:
                    yield from self._answer(window, loader, encoder)
        finally:
            windows.stop()
            for pool in (threads, reader):
                pool.shutdown(wait=False, cancel_futures=True)
            for pool in (threads, reader):
                pool.shutdown()

    def _answer(self, window: Window, loader: Loader, encoder: Encoder) -> Iterator[Result]:
        loader.expect(window.pictures())
        uses = window.uses()
        for one in window.passes:
            runner = self._runner_for(one)
            answering = Answering(
                one.leaves,
                window.tickets,
                runner,
                encoder,
                uses,
                self.work,
                step_tokens=self._budget.step_tokens,
                one_by_one=self._deterministic,
                is_profiled=self.is_profiled,
            )
            yield from answering.results()

    def _runner_for(self, one: Pass) -> Runner:
        """Rows of the size that a pass needs: those of the one before, if they will do."""
        room = min(one.room, self._budget.longest)
        num_going_on = sum(leaf.goes_on for leaf in one.leaves)
        most = min(self._budget.answers, self._budget.cache_tokens // room - 1)
        num_rows = max(1, min(most, num_going_on))
        rows = self._runner.rows if self._runner is not None else None
        if rows is not None and rows.room == room and rows.num_rows >= num_rows:
            assert self._runner is not None
            return self._runner
        self._runner = None  # frees its rows
        while True:
            try:
                rows = Rows(
                    self._model.config.text,
                    num_rows,
                    room,
                    dtype=self._model.dtype,
                    device=self._model.device,
                )
                break
            except Exception as error:
                if num_rows == 1 or not is_shortage(error):
                    raise
                self.work.shortages.append(f"{num_rows} rows of {room} tokens; half from now on")
                num_rows //= 2
        self._runner = Runner(
            self._model, rows, fixed_shapes=self._deterministic, few_rows=self._few_rows
        )
        return self._runner
