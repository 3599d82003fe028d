"""What the harness asks of a backend. Nothing in it knows what a batch is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from vlmbench.schema import Probe, Request, Response


class Backend(Protocol):
    """A model that answers requests."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response for every request, each as soon as it is known, in any order.

        `requests` is read lazily and only as far ahead as batching needs: their pictures are not
        in memory until read. A request that fails (a picture that cannot be decoded, a prompt too
        long, out of memory when alone) gives a response with an error, and the rest goes on.
        """

    # It may have one_by_one(requests) -> Iterator[Response]: as `generate`, with one request at a
    # time and the next read after the response to the last; `timings.total_s` is its latency.
    # Without it `generate` is called for each.

    def probe(self) -> Probe:
        """Model, device and settings; peak memory is that of the calls so far."""

    def close(self) -> None:
        """Free the device; no call follows."""


class Forecast(Protocol):
    """What requests will cost, known before the model is loaded.

    A backend's module may have `forecast(argument, settings) -> Forecast`.
    """

    def visual_tokens(self, pictures: Sequence[tuple[int, int]]) -> int:
        """Visual tokens of pictures of (width, height) pixels."""

    def flops(
        self, pictures: Sequence[tuple[int, int]], num_text: int, num_new: int
    ) -> Mapping[str, int]:
        """FLOPs of a request with pictures, by stage: "vision", "connector", "prefill", "decode".

        `num_text` are all tokens of the prompt but those of its pictures, `num_new` those of the
        answer. A multiply-add is 2 FLOPs.
        """
