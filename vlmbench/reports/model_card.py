"""`model-index` metadata of a run's scores: the part of a model card that the hub shows.

Source: the hub's model card specification; huggingface_hub's EvalResult has the same fields.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlmbench.errors import VlmbenchError, no_such
from vlmbench.metrics.intervals import Estimate
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.schema import Profile
from vlmbench.task.loading import installed
from vlmbench.task.scoring import Summary

HUB_TASK = "visual-question-answering"
"""The hub's name for a task that is not installed here."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
PLACES = 2


def model_name(run: FinishedRun) -> str:
    """The model's name: the last part of its spec, "idefics2-8b"."""
    argument = run.model.partition(":")[2]
    return re.split(r"[/#]", argument.rstrip("/"))[-1] or run.model


def model_index(
    run: FinishedRun,
    *,
    name: str = "",
    tasks: Sequence[str] = (),
    profile: Profile = "official",
    allow_part: bool = False,
) -> list[dict[str, Any]]:
    """The value of `model-index` in a model card: scores in percent, and how they were made.

    `name`: of the model; empty: see `model_name`. `tasks`: `TASK@SPLIT`s; empty: all with a score.
    `allow_part`: also tasks that were not run as a whole; the metric's name then says so.

    Raises: VlmbenchError for an unknown task, one without a score or without that profile, and for
    one that was not run in full.
    """
    from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

    results = [
        EvalResult(**_result(run, task, profile, allow_part)) for task in scored_tasks(run, tasks)
    ]
    index: list[dict[str, Any]] = eval_results_to_model_index(name or model_name(run), results)
    return index


def scored_tasks(run: FinishedRun, names: Sequence[str] = ()) -> list[FinishedTask]:
    """The tasks of these `TASK@SPLIT`s; without names, all with a score.

    Raises: VlmbenchError for an unknown task or one without a score, and where there is none.
    """
    known = {task.name: task for task in run.tasks if task.summaries}
    for wanted in names:
        if wanted not in known:
            raise no_such("task", wanted, known or {"none"}, f"with a score in {run.folder}")
    if not known:
        raise VlmbenchError(f"{run.folder} has no scores: the answers of its splits are not public")
    return [known[name] for name in names or known]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The score of a task as it may be published."""

    summary: Summary
    estimate: Estimate
    num_run: int
    """Samples with an answer."""

    is_part: bool
    """True: these are not all of the split."""


def published(task: FinishedTask, profile: Profile, allow_part: bool) -> Published:
    """Raises: VlmbenchError where a profile or a score is lacking, or samples that must not be."""
    if profile not in task.summaries:
        raise VlmbenchError(
            f"{task.name} has no profile {profile!r}; it has: {', '.join(task.summaries)}"
        )
    summary = task.summaries[profile]
    num_run = task.num_selected - task.num_missing - task.num_failed
    is_part = num_run < task.num_rows
    if is_part and not allow_part:
        raise VlmbenchError(
            f"{task.name} has answers to {num_run:,} of {task.num_rows:,} samples; "
            "run the rest, or give --allow-part, and the card will say so"
        )
    if summary.estimate is None:
        raise VlmbenchError(f"{task.name} in {task.folder}: no sample was scored")
    return Published(summary=summary, estimate=summary.estimate, num_run=num_run, is_part=is_part)


def _result(
    run: FinishedRun, task: FinishedTask, profile: Profile, allow_part: bool
) -> dict[str, Any]:
    found = published(task, profile, allow_part)
    summary, shown = found.summary, found.estimate
    of = installed(task.task)
    hub_task = of.hub_task if of else HUB_TASK
    return {
        "task_type": hub_task,
        "task_name": hub_task.replace("-", " ").title(),
        **_dataset(run, task),
        "metric_type": task.metric,
        "metric_name": metric_name(task, profile, found),
        "metric_value": round(100 * shown.mean, PLACES),
        "metric_args": {
            "interval_95": [round(100 * shown.low, PLACES), round(100 * shown.high, PLACES)],
            "n": shown.n,
            "samples": summary.num_rows,
            "failed": summary.failed,
            "unparsed": summary.unparsed,
            "profile": profile,
            "prompt_style": task.prompt_style,
            "shots": task.prompt.shots,
            "task_version": task.version,
            "vlmbench": run.manifest.vlmbench,
        },
    }


def is_of_hub(task: FinishedTask) -> bool:
    """True if its rows are of a data set of the hub; false for a local copy and a stand-in."""
    is_named = bool(HUB_ID.fullmatch(task.data.source))
    return is_named and not task.is_mini and task.data.revision != "local"


def _dataset(run: FinishedRun, task: FinishedTask) -> dict[str, Any]:
    """The hub's data set; a local copy's path stays private, and our task's name stands for it."""
    data = task.data
    if is_of_hub(task):
        return {
            "dataset_type": data.source,
            "dataset_name": task.name,
            "dataset_split": task.split,
            "dataset_revision": data.revision,
        }
    title = f"{task.name} (embedded stand-in, not the benchmark)" if task.is_mini else task.name
    return {"dataset_type": task.name, "dataset_name": title, "dataset_split": task.split}


def metric_name(task: FinishedTask, profile: Profile, found: Published) -> str:
    """The metric with all that sets its use apart: "anls (official rules, 0 shots)"."""
    parts = [f"{profile} rules", f"{task.prompt.shots} shots"]
    parts += ["no pictures shown"] if task.prompt.blind else []
    parts += [f"{task.prompt.pictures} pictures shown"] if task.prompt.pictures != "own" else []
    parts += ["OCR tokens given"] if task.prompt.ocr else []
    parts += [f"{found.num_run:,} of {task.num_rows:,} samples"] if found.is_part else []
    return f"{task.metric} ({', '.join(parts)})"
