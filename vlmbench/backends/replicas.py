"""Several servers of one model: which of them is asked next.

Each is given as many requests at once as it may have, so one that answers faster is asked more.
One that fails rests, and its requests go to the others.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

import anyio

from vlmbench.backends.servers import Server
from vlmbench.backends.terms import Terms


class Replica:
    """A server, and how it fares."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.terms = Terms()
        self.num_asked = 0
        self.num_in_flight = 0
        self.num_failures = 0
        """Failures in a row."""

        self.rests_until = 0.0
        """End of rest by `time.monotonic`."""


class Replicas:
    """Replicas, for one event loop at a time."""

    def __init__(self, servers: Sequence[Server], concurrency: int) -> None:
        self._all = [Replica(server) for server in servers]
        self._concurrency = concurrency
        self._changed = anyio.Event()

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    async def take(self, failed: Collection[Replica]) -> Replica:
        """The replica that has the least to do, as soon as one has room; to be given back.

        `failed`: those that failed on the same request; others are asked first.
        """
        fresh = [one for one in self._all if one not in failed] or self._all
        while True:
            now = time.monotonic()
            if ready := [one for one in fresh if self._has_room(one, now)]:
                chosen = min(ready, key=lambda one: (one.num_in_flight, one.num_asked))
                chosen.num_asked += 1
                chosen.num_in_flight += 1
                return chosen
            waits = [one.rests_until - now for one in fresh if one.rests_until > now]
            changed = self._changed
            with anyio.move_on_after(min(waits, default=None)):
                await changed.wait()

    def give_back(self, replica: Replica) -> None:
        replica.num_in_flight -= 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def succeeded(self, replica: Replica) -> None:
        replica.num_failures = 0

    def rest(self, replica: Replica, seconds: float) -> None:
        """Ask it nothing for that long, after a failure."""
        now = time.monotonic()
        if replica.rests_until <= now:  # requests in flight fail together, and count as one
            replica.num_failures += 1
            replica.rests_until = now + seconds

    def _has_room(self, replica: Replica, now: float) -> bool:
        """One that failed is tried with a single request until it answers."""
        room = 1 if replica.num_failures and len(self._all) > 1 else self._concurrency
        return replica.rests_until <= now and replica.num_in_flight < room
