"""The time and energy of a run's worker sessions, divided among its tasks."""

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
"""Answers logged within this time of one another are of one batch, which share its time evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskShare:
    """The part of one worker session's time and energy that went to one task."""

    session: Session
    seconds: float
    host_j: float | None
    device_j: float | None


@dataclass(frozen=True, slots=True)
class WorkerTime:
    """One worker session and its seconds by task."""

    session: Session
    seconds_by_task: Mapping[str, float]
    num_sessions_on_host: int
    """Sessions at the same time on the same machine, this one included: they share its energy."""

    def of(self, task: str) -> TaskShare | None:
        """The task's share; None where the session logged none of its samples."""
        if task not in self.seconds_by_task:
            return None
        seconds, total = self.seconds_by_task[task], sum(self.seconds_by_task.values())
        share = seconds / total if total else 0.0
        host_j, device_j = self.session.host_energy_j, self.session.device_energy_j
        return TaskShare(
            session=self.session,
            seconds=seconds,
            host_j=None if host_j is None else share * host_j / self.num_sessions_on_host,
            device_j=None if device_j is None else share * device_j,
        )


def worker_times(folder: Path) -> list[WorkerTime]:
    """Every session with its seconds by task; empty if some response is of no recorded session."""
    every = usage.sessions(folder)
    logged: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for record in records(folder):
        logged[record.worker].append((record.time, record.task))
    found = []
    for session in every:
        later = [s.started for s in every if s.worker == session.worker]
        end = min((t for t in later if t > session.started), default=math.inf)
        mine = [entry for entry in logged[session.worker] if session.started <= entry[0] < end]
        found.append((session, mine))
    if sum(len(mine) for _, mine in found) < sum(map(len, logged.values())):
        return []
    spans = [(s, mine[-1][0] if mine else s.started) for s, mine in found]
    return [
        WorkerTime(
            session, _seconds_by_task(session, mine), _num_sessions_on_host(session, span[1], spans)
        )
        for (session, mine), span in zip(found, spans, strict=True)
    ]


def energy(shares: Sequence[TaskShare]) -> tuple[float | None, tuple[str, ...]]:
    """Joules and what was metered; a source counts only if every session has it."""
    total, sources = 0.0, []
    for source, joules in (
        ("host", [share.host_j for share in shares]),
        ("device", [share.device_j for share in shares]),
    ):
        known = [value for value in joules if value is not None]
        if shares and len(known) == len(shares):
            total += sum(known)
            sources.append(source)
    return (total if sources else None), tuple(sources)


def _seconds_by_task(session: Session, logged: Sequence[tuple[float, str]]) -> dict[str, float]:
    """Divides the time before each batch of answers evenly among the answers of that batch."""
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


def _num_sessions_on_host(
    session: Session, end: float, spans: Sequence[tuple[Session, float]]
) -> int:
    return sum(
        other is session
        or (other.machine == session.machine and other.started < end and session.started < until)
        for other, until in spans
    )
