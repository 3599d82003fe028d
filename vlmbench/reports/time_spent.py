"""Where the time and the energy of a run's workers went, by task."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlmbench.runs.folder import usage
from vlmbench.runs.folder.responses import records
from vlmbench.runs.folder.usage import Session

BURST_S = 0.005
"""Answers logged within this of one another came of one batch, and share the time before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a session gave to a task, or to all."""

    session: Session
    seconds: float
    host_j: float | None
    device_j: float | None


@dataclass(frozen=True, slots=True)
class Spent:
    """A session and where its time went, by task."""

    session: Session
    by_task: Mapping[str, float]
    num_neighbours: int
    """Sessions at the same time on the same machine, itself included: they share the host."""

    def of(self, task: str) -> Part | None:
        """None where the session logged nothing of it."""
        if task not in self.by_task:
            return None
        total = sum(self.by_task.values())
        return self._part(self.by_task[task], self.by_task[task] / total if total else 0.0)

    def _part(self, seconds: float, share: float) -> Part:
        host_j, device_j = self.session.host_energy_j, self.session.device_energy_j
        return Part(
            session=self.session,
            seconds=seconds,
            host_j=None if host_j is None else share * host_j / self.num_neighbours,
            device_j=None if device_j is None else share * device_j,
        )


def time_spent(folder: Path) -> list[Spent]:
    """Every session with its time by task; none where a response is of no recorded session."""
    every = usage.sessions(folder)
    logged: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for record in records(folder):
        logged[record.worker].append((record.time, record.task))
    spent = []
    for session in every:
        later = [s.started for s in every if s.worker == session.worker]
        end = min((t for t in later if t > session.started), default=math.inf)
        mine = [entry for entry in logged[session.worker] if session.started <= entry[0] < end]
        spent.append((session, mine))
    if sum(len(mine) for _, mine in spent) < sum(map(len, logged.values())):
        return []
    spans = [(s, mine[-1][0] if mine else s.started) for s, mine in spent]
    return [
        Spent(session, _by_task(session, mine), _neighbours(session, span[1], spans))
        for (session, mine), span in zip(spent, spans, strict=True)
    ]


def _by_task(session: Session, logged: Sequence[tuple[float, str]]) -> dict[str, float]:
    """The time between one burst of answers and the next, shared evenly by those of the next."""
    seconds: dict[str, float] = defaultdict(float)
    before, start = session.started, 0
    for index, (time, _) in enumerate(logged):
        if index + 1 < len(logged) and logged[index + 1][0] - time < BURST_S:
            continue
        burst = logged[start : index + 1]
        for _, task in burst:
            seconds[task] += max(0.0, time - before) / len(burst)
        before, start = time, index + 1
    return seconds


def _neighbours(session: Session, end: float, spans: Sequence[tuple[Session, float]]) -> int:
    return sum(
        other is session
        or (other.machine == session.machine and other.started < end and session.started < until)
        for other, until in spans
    )
