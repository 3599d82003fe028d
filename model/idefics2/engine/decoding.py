"""One pass of the plan: the scheduler's steps, done.

Axes: W packed tokens whose hidden states are wanted, D decoder width, B answers, V vocabulary.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from idefics2.engine.batch import Packed, pack
from idefics2.engine.encoder_cache import Encoder
from idefics2.engine.memory import is_shortage, now
from idefics2.engine.model_runner import Growing, Runner
from idefics2.engine.planner import Leaf
from idefics2.engine.request import Picture, Result, failed
from idefics2.engine.scheduler import Scheduler, Span, Step
from idefics2.engine.sequence import Ticket
from idefics2.engine.stats import Work
from idefics2.sampling import Draft, Token, check_numbers, choose


class Answering:
    """The requests of a pass on their way through the rows of a runner."""

    def __init__(
        self,
        leaves: Sequence[Leaf],
        tickets: Sequence[Ticket],
        runner: Runner,
        encoder: Encoder,
        uses: Counter[str],
        work: Work,
        *,
        step_tokens: int,
        one_by_one: bool,
        is_profiled: bool,
    ) -> None:
        """`uses` counts the requests of the window that each picture is still needed for."""
        self._tickets, self._runner, self._encoder = tickets, runner, encoder
        self._uses, self._work, self._is_profiled = uses, work, is_profiled
        self._prompts = [ticket.request.ids for ticket in tickets]
        self._continuations = [ticket.request.continuations for ticket in tickets]
        self._scheduler = Scheduler(
            leaves, runner.rows.num_rows, step_tokens, one_by_one=one_by_one
        )
        self._growing: dict[int, Ticket] = {}
        self._refused: dict[int, Exception] = {}

    def results(self) -> Iterator[Result]:
        """As answers finish."""
        while True:
            if self._scheduler.wants_to_read:
                yield from self._read()
            elif self._growing:
                yield from self._go_on()
            else:
                return

    def _read(self) -> Iterator[Result]:
        """Reads the prompts that come next, as many as fit."""
        opened_at = time.perf_counter()
        while (span := self._scheduler.offer()) is not None:
            ticket = self._tickets[span.leaf.index]
            try:
                self._want_pictures(ticket, span)
            except Exception as error:  # the sample boundary
                self._scheduler.drop()
                self._let_go(ticket)
                yield failed(ticket.request.id, error, ticket.attempt)
            else:
                ticket.opened_at = ticket.opened_at or opened_at
                self._scheduler.accept()
                self._encoder.encode_full_packs()
        step = self._scheduler.close()
        if step is None:
            return
        self._encoder.flush()
        if any(self._encoder.is_broken(picture) for picture, _ in self._pictures(step)):
            self._scheduler.rewind(step)  # what is broken is left out when it is offered again
            return
        start = now(self._runner.device)
        packed = pack(step, self._prompts, self._continuations, self._runner.rows.trunk)
        try:
            x_WD = self._hidden_states(step, packed)
            scores = self._scores(step, packed, x_WD)
            first_tokens = self._first_tokens(step, packed, x_WD)
        except Exception as error:
            if not is_shortage(error):
                raise
            self._shrink(step, error)
            return
        seconds = now(self._runner.device) - start
        self._work.count_reading(len(packed.ids), seconds)
        yield from self._begin(step, scores, first_tokens, seconds)

    def _want_pictures(self, ticket: Ticket, span: Span) -> None:
        """Raises: why the span cannot be read."""
        if span.leaf.index in self._refused:
            raise self._refused[span.leaf.index]
        for picture, _ in ticket.pictures_between(span.start, span.stop):
            encoded = self._encoder.want(picture)
            if encoded is not None:
                ticket.caused.append(encoded)

    def _pictures(self, step: Step) -> Iterator[tuple[Picture, range]]:
        """The pictures whose slots a step reads, and which of their slots, in its order."""
        for span in step.spans:
            yield from self._tickets[span.leaf.index].pictures_between(span.start, span.stop)

    def _hidden_states(self, step: Step, packed: Packed) -> Tensor:
        visual = [
            self._encoder.tokens(picture)[slots.start : slots.stop]
            for picture, slots in self._pictures(step)
        ]
        places = [
            first + place - span.start
            for span, first in zip(step.spans, packed.starts, strict=True)
            for place in self._tickets[span.leaf.index].slots_between(span.start, span.stop)
        ]
        return self._runner.read(packed, places, torch.cat(visual) if visual else None)

    def _scores(self, step: Step, packed: Packed, x_WD: Tensor) -> dict[int, tuple[float, ...]]:
        """The log-likelihoods of a leaf's continuations, by the leaf's index."""
        scored = [
            (span.leaf.index, pairs)
            for span, output in zip(step.spans, packed.places(), strict=True)
            if output and span.leaf.branches
            for pairs in _pairs(output, self._continuations[span.leaf.index])
        ]
        logprobs = iter(self._runner.score(x_WD, [pair for _, pairs in scored for pair in pairs]))
        sums: dict[int, tuple[float, ...]] = {}
        for index, pairs in scored:
            sums[index] = (*sums.get(index, ()), sum(islice(logprobs, len(pairs))))
        return sums

    def _first_tokens(self, step: Step, packed: Packed, x_WD: Tensor) -> dict[int, Token]:
        """The token that each leaf's answer begins with, by the leaf's index."""
        asked = {
            span.leaf.index: output[0]
            for span, output in zip(step.spans, packed.places(), strict=True)
            if output and not span.leaf.branches
        }
        if not asked:
            return {}
        logits_BV = self._runner.logits(x_WD, list(asked.values()))
        drafts = [self._tickets[index].draft for index in asked]
        return dict(zip(asked, self._choose("first", logits_BV, drafts), strict=True))

    def _choose(self, which: str, logits_BV: Tensor, drafts: Sequence[Draft | None]) -> list[Token]:
        start = now(self._runner.device) if self._is_profiled else 0.0
        tokens = choose(logits_BV, [draft for draft in drafts if draft is not None])
        if self._is_profiled:
            self._work.add_seconds(f"choose {which}", now(self._runner.device) - start)
        return tokens

    def _begin(
        self,
        step: Step,
        scores: dict[int, tuple[float, ...]],
        first_tokens: dict[int, Token],
        seconds: float,
    ) -> Iterator[Result]:
        """Hands over what is complete; other answers go on from here."""
        read_at = time.perf_counter()
        for span in step.spans:
            ticket = self._tickets[span.leaf.index]
            ticket.prefill_s += seconds
            if not span.is_last:
                continue
            self._let_go(ticket)
            self._work.count_request(span.leaf.length + sum(span.leaf.branches))
            ticket.first_token_at = read_at
            if span.leaf.index in scores:
                yield _scored(ticket, read_at, scores[span.leaf.index])
                continue
            if span.slot is not None:
                self._growing[span.slot] = ticket
            yield from self._take(ticket, first_tokens[span.leaf.index], span.slot, read_at)

    def _go_on(self) -> Iterator[Result]:
        """Adds a token to each answer that grows."""
        start = now(self._runner.device)
        for source, target in self._scheduler.compact():
            ticket = self._growing.pop(source)
            self._growing[target] = ticket
            self._runner.rows.move(source, target, ticket.num_tokens - 1)
        growing = sorted(self._growing.items())
        answers = [Growing(row, t.num_tokens - 1, t.last_id) for row, t in growing]
        try:
            logits_BV = self._runner.go_on(answers)
        except Exception as error:
            num_answers = min(len(answers), self._runner.most_answers)
            if num_answers == 1 or not is_shortage(error):
                raise
            torch.cuda.empty_cache()
            for _, ticket in growing:
                ticket.attempt += 1
            self._runner.most_answers = num_answers // 2
            self._work.shortages.append(f"{num_answers} answers; half at once from now on")
            return
        tokens = self._choose("next", logits_BV, [ticket.draft for _, ticket in growing])
        end = now(self._runner.device)
        self._work.count_going_on(len(tokens), end - start)
        for (row, ticket), token in zip(growing, tokens, strict=True):
            yield from self._take(ticket, token, row, end)

    def _take(self, ticket: Ticket, token: Token, row: int | None, at: float) -> Iterator[Result]:
        assert ticket.draft is not None
        error: Exception | None = None
        try:
            ticket.draft.take(token)
        except Exception as caught:  # the sample boundary
            error = caught
        if error is None and ticket.draft.finish_reason is None:
            return
        if row is not None:
            del self._growing[row]
            self._scheduler.finish(row)
        yield failed(ticket.request.id, error, ticket.attempt) if error else ticket.result(at)

    def _let_go(self, ticket: Ticket) -> None:
        """Notes that a request needs its pictures no more."""
        for picture in ticket.request.pictures:
            self._work.crops_requested += self._encoder.num_crops(picture)
        for digest in {picture.digest for picture in ticket.request.pictures}:
            self._uses[digest] -= 1
            if not self._uses[digest]:
                self._encoder.forget(digest)

    def _shrink(self, step: Step, error: Exception) -> None:
        """Reads smaller steps from now on; a prompt that is too long alone is an error."""
        torch.cuda.empty_cache()
        self._scheduler.rewind(step)
        num_tokens = sum(span.num_tokens for span in step.spans)
        for index in {span.leaf.index for span in step.spans}:
            self._tickets[index].attempt += 1
        if len(step.spans) > 1:
            self._scheduler.step_tokens = num_tokens // 2
        else:
            self._refused[step.spans[0].leaf.index] = error
        self._work.shortages.append(f"reading {num_tokens} tokens of {len(step.spans)} prompts")


def _scored(ticket: Ticket, at: float, scores: tuple[float, ...]) -> Result:
    try:
        check_numbers(scores)
    except FloatingPointError as error:
        return failed(ticket.request.id, error, ticket.attempt)
    return ticket.result(at, log_likelihoods=scores)


def _pairs(
    output: range, continuations: Sequence[tuple[int, ...]]
) -> Iterator[list[tuple[int, int]]]:
    """For each continuation: places, and the ids whose likelihood after them is asked."""
    last, branches = output[0], output[1:]
    for ids in continuations:
        num_read = len(ids) - 1
        yield list(zip([last, *branches[:num_read]], ids, strict=True))
        branches = branches[num_read:]
