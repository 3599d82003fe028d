"""Requests in the numbers in which they are planned."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from idefics2.config import Idefics2Config
from idefics2.engine.encoder_cache import Encoded
from idefics2.engine.planner import Outline, Pass, keys, picture_numbers, plan
from idefics2.engine.request import Picture, Request, Result, Timings, check, failed
from idefics2.sampling import Decode, Draft

FIRST_SIZE = 256
"""Requests of the first window, which the device waits for."""

GROWTH = 4
"""How many times as large as the one before a window is, up to its full size."""


@dataclass(slots=True)
class Ticket:
    """A request on its way."""

    request: Request
    read_at: float
    """This and other times are those of `time.perf_counter`."""
    image_positions: tuple[int, ...]
    """Where its `<image>` ids are."""
    draft: Draft | None
    """Its answer as it grows; None: continuations are scored."""
    opened_at: float = 0.0
    """When the first step that reads it began."""
    caused: list[Encoded] = field(default_factory=list)
    """Pictures that were decoded and encoded for it first."""
    prefill_s: float = 0.0
    first_token_at: float = 0.0
    attempt: int = 1

    @property
    def cut(self) -> int:
        """How many tokens there are up to the last slot."""
        return self.image_positions[-1] + 1 if self.image_positions else 0

    @property
    def num_tokens(self) -> int:
        """Of its prompt and its answer so far."""
        return len(self.request.ids) + (len(self.draft.tokens) if self.draft else 0)

    @property
    def last_id(self) -> int:
        """Of its answer so far."""
        assert self.draft is not None
        return self.draft.tokens[-1].id

    def slots_between(self, start: int, stop: int) -> tuple[int, ...]:
        """Places of `<image>` ids among these tokens."""
        first = bisect_left(self.image_positions, start)
        return self.image_positions[first : bisect_left(self.image_positions, stop)]

    def pictures_between(self, start: int, stop: int) -> Iterator[tuple[Picture, range]]:
        """Pictures whose slots are among these tokens, and which of their slots those are."""
        first = bisect_left(self.image_positions, start)
        last = bisect_left(self.image_positions, stop)
        for picture in self.request.pictures:
            slots = range(max(first, 0), min(last, picture.num_slots))
            if slots:
                yield picture, slots
            first, last = first - picture.num_slots, last - picture.num_slots

    def result(self, at: float, log_likelihoods: tuple[float, ...] = ()) -> Result:
        """What it came to; its last token was there at the given time."""
        starts = [encoded.started_at for encoded in self.caused]
        preprocess_s = sum(encoded.preprocess_s for encoded in self.caused)
        timings = Timings(
            queue_s=max(0.0, self.opened_at - self.read_at - preprocess_s),
            preprocess_s=preprocess_s,
            encode_s=sum(encoded.encode_s for encoded in self.caused),
            prefill_s=self.prefill_s,
            first_token_s=self.first_token_at - min([self.opened_at, *starts]),
            decode_s=at - self.first_token_at,
        )
        if self.draft is None:
            return Result(
                id=self.request.id,
                finish_reason="scored",
                log_likelihoods=log_likelihoods,
                timings=timings,
                attempt=self.attempt,
            )
        assert self.draft.finish_reason is not None
        return Result(
            id=self.request.id,
            finish_reason=self.draft.finish_reason,
            ids=self.draft.ids,
            text=self.draft.text,
            logprobs=tuple(token.logprob for token in self.draft.tokens),
            timings=timings,
            attempt=self.attempt,
        )


@dataclass(slots=True)
class Window:
    """Requests that are planned together."""

    tickets: list[Ticket] = field(default_factory=list)
    failed: list[Result] = field(default_factory=list)
    """Of requests that cannot be taken."""
    passes: list[Pass] = field(default_factory=list)

    def pictures(self) -> Iterator[Picture]:
        """All pictures, each once, in the order in which they are first needed."""
        seen: set[str] = set()
        for leaf in (leaf for one in self.passes for leaf in one.leaves):
            for picture in self.tickets[leaf.index].request.pictures:
                if picture.digest not in seen:
                    seen.add(picture.digest)
                    yield picture

    def uses(self) -> Counter[str]:
        """How many requests each picture is part of."""
        digests = ({p.digest for p in ticket.request.pictures} for ticket in self.tickets)
        return Counter(digest for several in digests for digest in several)


class Windows:
    """Cuts a stream of requests into windows; neighbours about the same pictures stay together."""

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
        self._requests, self._config, self._size = requests, config, size
        self._longest, self._fixed_shapes, self._decode = longest, fixed_shapes, decode
        self._held: Request | None = None
        self._next_size = min(size, FIRST_SIZE)
        self._is_stopped = False

    def stop(self) -> None:
        """Reads no further; what is being read ends early."""
        self._is_stopped = True

    def read(self) -> Window | None:
        """The next window with its plan; None at the end. Runs ahead, in a thread."""
        window = Window()
        size = self._next_size
        self._next_size = min(self._size, size * GROWTH)
        last: Request | None = None
        while (request := self._take()) is not None:
            is_full = len(window.tickets) >= size
            is_apart = last is None or not set(last.pictures) & set(request.pictures)
            if is_full and (is_apart or len(window.tickets) >= 2 * size):
                self._held = request
                break
            last = request
            try:
                window.tickets.append(self._ticket(request))
            except Exception as error:  # the sample boundary
                window.failed.append(failed(request.id, error))
        if last is None:
            return None
        window.passes = plan(self._outlines(window.tickets))
        return window

    def _take(self) -> Request | None:
        if self._is_stopped:
            return None
        held, self._held = self._held, None
        return next(self._requests, None) if held is None else held

    def _ticket(self, request: Request) -> Ticket:
        check(request, self._config, self._longest)
        draft = None
        if request.sampling is not None:
            draft = Draft(request.ids, request.sampling, self._decode)
        image_id = self._config.image_id
        positions = tuple(place for place, id in enumerate(request.ids) if id == image_id)
        return Ticket(request, time.perf_counter(), positions, draft)

    def _outlines(self, tickets: list[Ticket]) -> list[Outline]:
        numbers = picture_numbers(
            (ticket.request.id, picture.digest)
            for ticket in tickets
            for picture in ticket.request.pictures
        )
        outlines = []
        for ticket in tickets:
            request = ticket.request
            pictures = [(picture.digest, picture.num_slots) for picture in request.pictures]
            outline = Outline(
                id=request.id,
                keys=keys(request.ids, ticket.image_positions, pictures, numbers),
                num_new=request.num_new,
                branches=tuple(len(ids) - 1 for ids in request.continuations),
                cut=min(ticket.cut, len(request.ids) - 1) if self._fixed_shapes else None,
            )
            outlines.append(outline)
        return outlines
