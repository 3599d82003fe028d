"""A run before it begins: the data read, the samples chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlmbench.backends import registry
from vlmbench.errors import VlmbenchError
from vlmbench.files import slug
from vlmbench.runs import plan
from vlmbench.runs.job import Job, Plan
from vlmbench.runs.plan import Item
from vlmbench.runs.selection import Selection
from vlmbench.schema import Json
from vlmbench.task.binding import PromptSettings


def prepare(
    model: str,
    tasks: Sequence[str],
    *,
    out: Path | None = None,
    selection: Selection | None = None,
    prompt: PromptSettings | None = None,
    settings: Mapping[str, Json] | None = None,
    num_workers: int | None = 1,
    data_dir: Path | None = None,
    tasks_dir: Path | None = None,
) -> Plan:
    """Read the data and choose the samples; nothing is written and no model is loaded.

    Raises: VlmbenchError for anything that the user can mend.
    """
    if not tasks:
        raise VlmbenchError("no task is named; see vlmbench list")
    prompt, settings = (prompt or PromptSettings()).resolved(), settings or {}
    selection = selection or Selection()
    registry.check(model, settings)
    folder = out or Path("runs") / slug(model)
    if folder.name in ("", ".."):  # "." would still name the folder that --fresh moves aside
        folder = folder.resolve()
    job = Job(
        tasks=tasks,
        model=model,
        prompt=prompt,
        settings=settings,
        data_dir=str(data_dir) if data_dir else None,
        tasks_dir=str(tasks_dir) if tasks_dir else None,
    )
    sources = job.sources()
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise VlmbenchError(f"a task is named twice in {', '.join(names)}")
    items: list[Item] = []
    for source in sources:
        cost = plan.Costs(sees_pictures=registry.sees_pictures(model) and not prompt.blind)
        samples = (source.task.read(row) for row in source.rows)
        items += selection.apply(source.name, samples, cost)
    return Plan(
        sources=sources,
        items=items,
        job=job,
        folder=folder,
        selection=selection,
        num_workers=num_workers,
    )
