"""Runs from Python and from the command line, alone or as one rank of a launcher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlmbench.backends import registry
from vlmbench.backends.protocol import Backend
from vlmbench.data.pictures import Pictures
from vlmbench.data.policy import Policy
from vlmbench.errors import VlmbenchError
from vlmbench.image_files import MAX_PIXELS
from vlmbench.runs import ranks
from vlmbench.runs.execute import Limits, execute
from vlmbench.runs.folder.finished import FinishedRun
from vlmbench.runs.job import Plan
from vlmbench.runs.on_ray import OnRay, RayData
from vlmbench.runs.prepare import prepare
from vlmbench.runs.selection import Selection
from vlmbench.schema import FinalAnswer, Json
from vlmbench.task.binding import PromptSettings


def evaluate(
    model: str,
    tasks: str | Sequence[str],
    *,
    out: str | Path | None = None,
    limit: int | float | None = None,
    ids: Sequence[str] = (),
    where: Mapping[str, str] | str | None = None,
    prompt_style: str = "idefics2",
    shots: int = 0,
    blind: bool = False,
    pictures: Pictures = "own",
    ocr: bool = False,
    max_new_tokens: int | None = None,
    final_answer: FinalAnswer | None = None,
    split_think: bool = False,
    seed: int = 0,
    resume: bool | None = None,
    max_failures: int | None = None,
    num_workers: int | None = None,
    use_gpus: bool = False,
    latency: int | None = None,
    usd_per_hour: float | None = None,
    ray: str | None = None,
    ray_data: RayData = "nodes",
    data_dir: str | Path | None = None,
    tasks_dir: str | Path | None = None,
    allow_outside: bool = False,
    max_pixels: int = MAX_PIXELS,
    **settings: Json,
) -> FinishedRun:
    """`vlmbench run` as a call: the same folder, log, resumption and scores.

    `allow_outside`: pictures may lie outside of `data_dir`. `max_pixels`: of a picture.
    `num_workers`: worker processes; None runs in this process, as a notebook wants it. `ray`: runs
    on that cluster instead, `num_workers` at most; see `OnRay`.
    `latency`: samples of each task to ask one at a time, 0: none; None: as many as take about a
    minute. `usd_per_hour`: price of one device.
    `final_answer`: what of a response is scored: "none" (all of it), "tags" or "full"; None is the
    prompt style's. `split_think`: the profile vlmevalkit scores what follows `</think>`.
    `settings`: those of the backend (batch_size, dtype, split_images, ...).

    Raises: VlmbenchError for what the user can mend.
    """
    planned = prepare(
        model,
        tasks.split(",") if isinstance(tasks, str) else list(tasks),
        out=Path(out) if out else None,
        selection=Selection(limit=limit, ids=ids, where=where or {}),
        prompt=PromptSettings(
            style=prompt_style,
            shots=shots,
            blind=blind,
            pictures=pictures,
            ocr=ocr,
            max_new_tokens=max_new_tokens,
            seed=seed,
        ),
        settings=settings,
        num_workers=num_workers or (1 if ray is None else None),
        latency=latency,
        usd_per_hour=usd_per_hour,
        final_answer=final_answer,
        split_think=split_think,
        data_dir=Path(data_dir) if data_dir else None,
        tasks_dir=Path(tasks_dir) if tasks_dir else None,
        policy=Policy(allow_outside=allow_outside, max_pixels=max_pixels),
    )
    limits = Limits(max_failures=max_failures)
    if ray is not None:
        on_ray = OnRay(address=ray, data=ray_data, most=num_workers)
        kind = True if use_gpus else None if num_workers is None else False
        return start(planned, resume=resume, limits=limits, use_gpus=kind, on_ray=on_ray)
    if num_workers is not None:
        return start(planned, resume=resume, limits=limits, use_gpus=use_gpus)
    backend = registry.open_backend(model, **settings)
    try:
        return start(planned, resume=resume, limits=limits, backend=backend)
    finally:
        backend.close()


def start(
    planned: Plan,
    *,
    resume: bool | None = None,
    limits: Limits | None = None,
    use_gpus: bool | None = None,
    on_ray: OnRay | None = None,
    backend: Backend | None = None,
    command: Sequence[str] = (),
) -> FinishedRun:
    """`execute`, or `ranks.execute` where a launcher started this process."""
    if ranks.rank() is None:
        return execute(
            planned,
            resume=resume,
            limits=limits,
            use_gpus=use_gpus,
            on_ray=on_ray,
            backend=backend,
            command=command,
        )
    if on_ray is not None:
        raise VlmbenchError("--ray has one driver; do not start it by torchrun, accelerate or srun")
    return ranks.execute(planned, resume=resume, limits=limits, backend=backend, command=command)
