"""What a run is about to do, as its workers are told."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlmbench.runs.plan import Item
from vlmbench.schema import Json
from vlmbench.task.binding import Asking, Source, TaskSource
from vlmbench.task.loading import LMMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker process needs, as JSON: no object of a task or a model crosses over."""

    folder: str
    tasks: Sequence[str]
    model: str
    asking: Asking
    settings: Mapping[str, Json]
    """Fields of `backends.settings.Settings` that were given."""

    data_dir: str | None
    tasks_dir: str | None
    is_patient: bool = False
    """Go on though the first samples all fail alike."""

    def to_json(self, worker: str, items: Sequence[Item]) -> str:
        """One line of JSON; the worker does not need what only the plan uses of its items."""
        rows = [(item.task, item.index, item.id) for item in items]
        return json.dumps({"job": asdict(self), "worker": worker, "items": rows})

    @staticmethod
    def from_json(text: str) -> tuple[Job, str, list[Item]]:
        document = json.loads(text)
        job = document["job"]
        job |= {"asking": Asking(**job["asking"])}
        items = [
            Item(task=sys.intern(task), index=index, id=id, image_group="", cost=0.0)
            for task, index, id in document["items"]
        ]
        return Job(**job), document["worker"], items

    def sources(self) -> list[Source]:
        folders: Mapping[str, Any] = {
            "data_dir": Path(self.data_dir) if self.data_dir else None,
            "tasks_dir": Path(self.tasks_dir) if self.tasks_dir else None,
        }
        return [self._source(spec, **folders) for spec in self.tasks]

    def _source(self, spec: str, *, data_dir: Path | None, tasks_dir: Path | None) -> Source:
        if spec.startswith(LMMS):
            from vlmbench.lmms.tasks import LmmsSource

            return LmmsSource(spec.removeprefix(LMMS), self.asking, include=tasks_dir)
        return TaskSource(spec, self.asking, data_dir=data_dir, tasks_dir=tasks_dir)
