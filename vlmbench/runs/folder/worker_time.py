"""The time and energy of a run's worker sessions, divided among its tasks where that is honest."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vlmbench.runs.folder import usage
from vlmbench.runs.folder.responses import records
from vlmbench.runs.folder.usage import Session

MARK_S = 1.0
"""A session's last answer may be logged so much later than what it used, by a driver's clock."""


class _Logged(NamedTuple):
    """What is needed of a response: a log can have hundreds of thousands."""

    time: float
    task: str
    device_s: float | None
    is_answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskShare:
    """The part of one worker session's time and energy that went to one task."""

    session: Session
    seconds: float
    host_j: float | None
    device_j: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTime:
    """One worker session, from the end of loading to its last answer, and its time by task."""

    session: Session
    ended: float
    """When the last answer was logged, in seconds since 1970."""

    parts: Mapping[str, float] | None
    """Task to its part of the time, in [0, 1]; None: several tasks that no one can tell apart."""

    num_sessions_on_host: int
    """Sessions at the same time on the same machine, this one included: they share its energy."""

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.session.started)

    @property
    def device(self) -> tuple[str, ...]:
        """What the session held, equal for sessions that shared it.

        A machine without accelerator is one device, however many workers it has.
        """
        session = self.session
        own = (session.worker,) if session.device_name else ()
        return (session.machine, *own)

    def may_have(self, task: str) -> bool:
        """True if the session logged samples of the task, or nobody knows what it did."""
        return self.parts is None or task in self.parts

    def of(self, task: str) -> TaskShare | None:
        """The task's share; None where the session logged none of its samples, or cannot tell."""
        if not self.parts or task not in self.parts:
            return None
        share = self.parts[task]
        host_j, device_j = self.session.host_energy_j, self.session.device_energy_j
        if self.session.ended is None or self.ended > self.session.ended + MARK_S:
            host_j = device_j = None  # killed: no one knows the energy of its last answers
        return TaskShare(
            session=self.session,
            seconds=share * self.seconds,
            host_j=None if host_j is None else share * host_j / self.num_sessions_on_host,
            device_j=None if device_j is None else share * device_j,
        )


def worker_times(folder: Path) -> list[WorkerTime]:
    """Every session that logged anything; empty if some response is of no recorded session."""
    every = usage.sessions(folder)
    logged: dict[str, list[_Logged]] = defaultdict(list)
    for record in records(folder):
        is_answer = record.response is not None
        one = _Logged(record.time, sys.intern(record.task), record.device_s, is_answer)
        logged[sys.intern(record.worker)].append(one)
    found = []
    for session in every:
        later = [s.started for s in every if s.worker == session.worker]
        end = min((t for t in later if t > session.started), default=math.inf)
        mine = [one for one in logged[session.worker] if session.started <= one.time < end]
        found.append((session, mine))
    if sum(len(mine) for _, mine in found) < sum(map(len, logged.values())):
        return []
    spans = [(s, max(one.time for one in mine)) for s, mine in found if mine]
    return [
        WorkerTime(
            session=session,
            ended=ended,
            parts=_parts(mine),
            num_sessions_on_host=_num_sessions_on_host(session, ended, spans),
        )
        for (session, ended), mine in zip(spans, (m for _, m in found if m), strict=True)
    ]


def shares_of(times: Sequence[WorkerTime], task: str) -> list[TaskShare] | None:
    """The task's shares of all sessions; None where one of them had it and cannot tell its part."""
    found = []
    for one in times:
        if one.parts is None:
            return None
        share = one.of(task)
        if share is not None:
            found.append(share)
    return found


def covered_s(times: Iterable[WorkerTime]) -> float:
    """Seconds in which at least one of these sessions was at work."""
    total, reached = 0.0, -math.inf
    for start, end in sorted((one.session.started, one.ended) for one in times):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def held_s(times: Sequence[WorkerTime]) -> float:
    """Device-seconds: for each device, the time in which a session had it."""
    return sum(
        covered_s(one for one in times if one.device == device)
        for device in {one.device for one in times}
    )


def num_devices(times: Sequence[WorkerTime]) -> int:
    """The most devices that were held at the same time."""
    return max(
        (
            len(
                {
                    other.device
                    for other in times
                    if other.session.started <= one.session.started <= other.ended
                }
            )
            for one in times
        ),
        default=0,
    )


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


def _parts(logged: Sequence[_Logged]) -> dict[str, float] | None:
    """Each task's part of the device time that the backend attributes to the requests.

    A failed request without any had none; a task that was alone had all.
    """
    names = {one.task for one in logged}
    if len(names) == 1:
        return dict.fromkeys(names, 1.0)
    seconds: dict[str, float] = defaultdict(float)
    for one in logged:
        if one.device_s is not None:
            seconds[one.task] += one.device_s
        elif one.is_answer:
            return None
    total = sum(seconds.values())
    return {name: seconds[name] / total for name in names} if total else None


def _num_sessions_on_host(
    session: Session, end: float, spans: Sequence[tuple[Session, float]]
) -> int:
    return sum(
        other is session
        or (other.machine == session.machine and other.started < end and session.started < until)
        for other, until in spans
    )
