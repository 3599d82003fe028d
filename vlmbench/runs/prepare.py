"""A run before it begins: the data read, the samples chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import UNSET

from vlmbench.backends import registry
from vlmbench.data.policy import STRICT, Policy
from vlmbench.errors import VlmbenchError
from vlmbench.files import slug
from vlmbench.runs import plan
from vlmbench.runs.job import Job, Plan
from vlmbench.runs.plan import Item
from vlmbench.runs.selection import Selection
from vlmbench.schema import FinalAnswer, Json
from vlmbench.task import styles
from vlmbench.task.binding import PromptSettings
from vlmbench.task.reading import Reading


def prepare(
    model: str,
    tasks: Sequence[str],
    *,
    out: Path | None = None,
    selection: Selection | None = None,
    prompt: PromptSettings | None = None,
    settings: Mapping[str, Json] | None = None,
    num_workers: int | None = 1,
    latency: int | None = None,
    usd_per_hour: float | None = None,
    final_answer: FinalAnswer | None = None,
    split_think: bool = False,
    data_dir: Path | None = None,
    tasks_dir: Path | None = None,
    policy: Policy = STRICT,
) -> Plan:
    """Read the data and choose the samples; nothing is written and no model is loaded.

    `latency`: samples of each task to ask alone, 0: none; None: as the folder's run does, and in a
    new one as many as take about a minute. `usd_per_hour`: price of one device.
    `final_answer`: None is the prompt style's. It and `split_think` say how responses are read
    (`task.reading.Reading`).

    Raises: VlmbenchError for anything that the user can mend.
    """
    if not tasks:
        raise VlmbenchError("no task is named; see vlmbench list")
    prompt, settings = (prompt or PromptSettings()).resolved(), settings or {}
    selection = selection or Selection()
    registry.check(model, settings)
    if latency and not registry.takes_time(model):
        raise VlmbenchError(f"{model} has no latency to measure, as no model answers")
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
        policy=policy,
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
        latency=UNSET if latency is None else latency,
        usd_per_hour=UNSET if usd_per_hour is None else usd_per_hour,
        reading=Reading(
            final_answer=final_answer or styles.find(prompt.style).final_answer,
            split_think=split_think,
        ),
    )
