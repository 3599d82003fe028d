"""What a run is about to do, as its workers are told."""

from __future__ import annotations

import json
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from vlmbench.data.policy import STRICT, Policy
from vlmbench.runs.dispatch import Lease
from vlmbench.runs.plan import Item, Timed
from vlmbench.runs.selection import Selection
from vlmbench.schema import Json
from vlmbench.task.binding import BoundTask, OwnTask, PromptSettings
from vlmbench.task.loading import LMMS
from vlmbench.task.reading import Reading

LMMS_TASK = "vlmbench.lmms.tasks:LmmsTask"
"""What binds a task of lmms-eval's: a plug-in, so it is loaded by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker process needs, as JSON: no object of a task or a model crosses over."""

    tasks: Sequence[str]
    model: str
    prompt: PromptSettings
    settings: Mapping[str, Json]
    """Fields of the backend's `Settings` that were given."""

    data_dir: str | None
    tasks_dir: str | None
    policy: Policy = STRICT
    """What the data may ask this machine to read."""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        job = json.loads(text)
        prompt, policy = PromptSettings(**job["prompt"]), Policy(**job["policy"])
        return Job(**job | {"prompt": prompt, "policy": policy})

    def sources(self) -> list[BoundTask]:
        """Its tasks, with the rows on this machine."""
        folders: Mapping[str, Any] = {
            "data_dir": Path(self.data_dir) if self.data_dir else None,
            "tasks_dir": Path(self.tasks_dir) if self.tasks_dir else None,
        }
        return [self._source(spec, **folders) for spec in self.tasks]

    def _source(self, spec: str, *, data_dir: Path | None, tasks_dir: Path | None) -> BoundTask:
        if spec.startswith(LMMS):
            bind: Any = pkgutil.resolve_name(LMMS_TASK)
            source: BoundTask = bind(spec.removeprefix(LMMS), self.prompt, include=tasks_dir)
            return source
        return OwnTask(
            spec, self.prompt, data_dir=data_dir, tasks_dir=tasks_dir, policy=self.policy
        )


def lease_to_json(lease: Lease) -> str:
    """One line of JSON; a worker does not need what only the plan uses of its items."""
    if lease.timed is not None:
        return msgspec.json.encode(lease.timed).decode()
    return json.dumps([(item.task, item.index, item.id) for item in lease.items])


def lease_from_json(text: str) -> Lease:
    """The lease, without its number."""
    if text.startswith("{"):
        return Lease(0, (), msgspec.json.decode(text, type=Timed))
    items = (
        Item(task=sys.intern(task), index=index, id=id, image_group="", cost=0.0)
        for task, index, id in json.loads(text)
    )
    return Lease(0, tuple(items))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that is prepared: data read, samples chosen, no model loaded and nothing written."""

    sources: Sequence[BoundTask]
    items: Sequence[Item]
    job: Job
    folder: Path
    selection: Selection
    num_workers: int | None
    """None: as many as a cluster has while it runs."""

    latency: int | UnsetType | None = UNSET
    """Samples of each task to ask alone; 0: none; None: the default; UNSET: as the folder's run
    does, and by default in a new one."""

    usd_per_hour: float | UnsetType = UNSET
    reading: Reading
    """How responses are read before they are scored; no part of what is asked."""
