"""A run before it is paid for: the real dispatcher's leases, on workers that only take time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from random import Random
from typing import Literal

from vlmbench.runs.dispatch import Dispatcher, Lease
from vlmbench.runs.plan import Item, assign

Kind = Literal["join", "finish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What a run would come to."""

    num_workers: int
    makespan_s: float
    """From the start, the loading of models included, to the last answer."""

    tail_s: float
    """The part of it in which at least one worker has nothing left to do."""

    idle_share: float
    """Of the workers' paid time: loading, or waiting for the others."""

    paid_s: float
    """Sum over workers of the time that they are there."""

    again_s: float
    """Work of lost workers that others do again."""

    num_leases: int
    num_losses: int
    """Workers lost before the end."""


@dataclass(slots=True)
class _Worker:
    since: float = 0.0
    """When it came, and its time is paid."""

    lease: Lease | None = None
    ends: Sequence[float] = ()
    """When each sample of the lease is answered."""

    began: float = 0.0
    is_there: bool = True
    life: int = 0
    """Events of an earlier life are void."""

    idle_since: float = 0.0


@dataclass(slots=True)
class _Sums:
    busy: float = 0.0
    again: float = 0.0
    paid: float = 0.0
    leases: int = 0
    losses: int = 0
    end: float = 0.0
    events: list[tuple[float, int, Kind, int, int]] = field(default_factory=list)


def simulate(
    items: Sequence[Item],
    seconds: Callable[[Item], float],
    joins: Sequence[float],
    *,
    losses: Iterable[tuple[float, Sequence[int]]] = (),
    replace_s: float | None = None,
) -> Simulated:
    """Discrete events until all is answered.

    `seconds`: what a sample takes a worker. `joins`: when each worker is ready for its first lease.
    `losses`: in order of time, the workers (by their place in `joins`) that are lost together;
    each is replaced by one that is ready `replace_s` later, or by none.

    Raises: ValueError where all workers are lost for good before the end.
    """
    dispatcher, sums, numbers = Dispatcher(items), _Sums(), count()
    workers = [_Worker() for _ in joins]
    idle: list[int] = []

    def plan_event(time: float, kind: Kind, worker: int) -> None:
        event = (time, next(numbers), kind, worker, workers[worker].life)
        heapq.heappush(sums.events, event)

    for number, ready in enumerate(joins):
        plan_event(ready, "join", number)
    pending = iter(losses)
    loss = next(pending, None)
    while not dispatcher.is_done:
        if loss is not None and (not sums.events or loss[0] < sums.events[0][0]):
            now, gone = loss
            for number in gone:
                if workers[number].is_there:
                    _lose(workers[number], now, dispatcher, sums)
                    idle = [other for other in idle if other != number]
                    if replace_s is not None:
                        workers[number].since = now + replace_s
                        plan_event(now + replace_s, "join", number)
            loss = next(pending, None)
        elif sums.events:
            now, _, kind, number, life = heapq.heappop(sums.events)
            if life == workers[number].life:
                _happens(workers[number], kind, now, dispatcher, sums)
                idle.append(number)
        else:
            raise ValueError("all workers are lost before the end")
        while idle and (lease := dispatcher.lease(len(workers))) is not None:
            worker = workers[idle[0]]
            took = accumulate((seconds(item) for item in lease.items), initial=now)
            worker.lease, worker.began, worker.ends = lease, now, [*took][1:]
            sums.leases += 1
            plan_event(worker.ends[-1], "finish", idle.pop(0))
    return _summed(workers, sums)


def _happens(worker: _Worker, kind: Kind, now: float, dispatcher: Dispatcher, sums: _Sums) -> None:
    worker.is_there = True
    worker.idle_since = now
    if kind == "finish":
        assert worker.lease is not None
        _answer(worker.lease, len(worker.lease.items), dispatcher)
        dispatcher.finished(worker.lease)
        sums.busy += now - worker.began
        sums.end = now
        worker.lease = None


def _lose(worker: _Worker, now: float, dispatcher: Dispatcher, sums: _Sums) -> None:
    sums.losses += 1
    sums.paid += max(0.0, now - worker.since)
    if worker.lease is not None:
        done = [end for end in worker.ends if end <= now]
        _answer(worker.lease, len(done), dispatcher)
        dispatcher.lost(worker.lease, is_with_machine=True)
        kept = done[-1] if done else worker.began
        sums.busy += kept - worker.began
        sums.again += now - kept
        sums.end = max(sums.end, kept)
    worker.lease, worker.is_there = None, False
    worker.life += 1


def _answer(lease: Lease, number: int, dispatcher: Dispatcher) -> None:
    for item in lease.items[:number]:
        dispatcher.answered(lease, item.task, item.id)


def _summed(workers: Sequence[_Worker], sums: _Sums) -> Simulated:
    there = [worker for worker in workers if worker.is_there]
    paid = sums.paid + sum(max(0.0, sums.end - worker.since) for worker in there)
    first_idle = min((worker.idle_since for worker in there), default=sums.end)
    return Simulated(
        num_workers=len(workers),
        makespan_s=sums.end,
        tail_s=sums.end - first_idle,
        idle_share=max(0.0, 1 - (sums.busy + sums.again) / paid) if paid else 0.0,
        paid_s=paid,
        again_s=sums.again,
        num_leases=sums.leases,
        num_losses=sums.losses,
    )


def static_shares_s(
    items: Sequence[Item], seconds: Callable[[Item], float], num_workers: int
) -> float:
    """How long the slowest of the fixed shares takes that ranks of torchrun or SLURM have."""
    shares = assign(items, num_workers)
    return max(math.fsum(map(seconds, share)) for share in shares)


def spot_losses(
    per_hour: float, num_workers: int, a_node: int, rng: Random
) -> Iterator[tuple[float, Sequence[int]]]:
    """Endless losses of whole nodes of `a_node` workers, each `per_hour` times an hour on average.

    Exponential times between them: each node is as likely to go now as later.
    """
    nodes = [range(s, min(s + a_node, num_workers)) for s in range(0, num_workers, a_node)]
    now = 0.0
    while per_hour > 0:
        now += rng.expovariate(per_hour / 3600 * len(nodes))
        yield now, rng.choice(nodes)
