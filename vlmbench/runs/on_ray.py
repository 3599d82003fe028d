"""A run's workers on Ray: what the user asked for, made an executor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from vlmbench.errors import no_such
from vlmbench.runs.executors import opening, ray_cluster
from vlmbench.runs.executors.opening import Opening
from vlmbench.runs.executors.packing import Packing
from vlmbench.runs.executors.ray import Kind, RayWorkers
from vlmbench.runs.job import Job, Plan

RayData = Literal["nodes", "driver"]
"""Who reads the data: each node, or the driver, which sends requests with their pictures."""

RAY_DATA: tuple[RayData, ...] = get_args(RayData)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRay:
    """Which cluster a run works on, and how."""

    address: str
    """`auto`, `local` or HOST:PORT of the head."""

    data: RayData = "nodes"
    most: int | None = None
    """Workers; None: one for each GPU or CPU that there is."""

    def __post_init__(self) -> None:
        """Raises: VlmbenchError for what cannot be, and where ray is not installed."""
        ray_cluster.checked_address(self.address)
        if self.data not in RAY_DATA:
            raise no_such("choice", self.data, RAY_DATA, "of --ray-data")
        ray_cluster.module()

    def workers(self, planned: Plan, use_gpus: bool | None) -> RayWorkers:
        """The executor of a prepared run.

        Raises: VlmbenchError where the cluster is not there.
        """
        kind: Kind | None = None if use_gpus is None else "GPU" if use_gpus else "CPU"
        first = self._opening(planned)
        cluster = ray_cluster.Cluster(self.address)
        packing = Packing(planned.sources) if first.is_sent else None
        return RayWorkers(first, cluster, kind=kind, most=self.most, packing=packing)

    def _opening(self, planned: Plan) -> Opening:
        job = _with_whole_paths(planned.job)
        if self.data == "driver":
            return Opening(job=job, is_sent=True, code=opening.code_digest())
        return Opening(
            job=job,
            code=opening.code_digest(),
            fingerprints={source.name: source.rows.fingerprint for source in planned.sources},
            task_files=opening.task_files(Path(job.tasks_dir)) if job.tasks_dir else {},
        )


def _with_whole_paths(job: Job) -> Job:
    """The driver's current folder may not be there on a node."""
    data_dir, tasks_dir = (
        str(Path(given).resolve()) if given else None for given in (job.data_dir, job.tasks_dir)
    )
    return replace(job, data_dir=data_dir, tasks_dir=tasks_dir)
