"""The same answer to every request: the floor of a board, and a load for the harness itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vlmbench.backends.settings import Settings
from vlmbench.schema import Probe, Request, Response


def open(argument: str, settings: Settings) -> ConstantBackend:
    return ConstantBackend(argument)


class ConstantBackend:
    """Answers without a look at the question, candidates included."""

    def __init__(self, text: str) -> None:
        self._text = text

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        for request in requests:
            yield Response(id=request.id, text=self._text, finish_reason="stop")

    def probe(self) -> Probe:
        return Probe(model=f"constant:{self._text}")

    def close(self) -> None:
        pass
