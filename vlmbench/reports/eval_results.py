"""A run's scores as the hub's community evaluations: `.eval_results/*.yaml` of a model repository.

Source: the hub's documentation, "Evaluation Results"; huggingface_hub has the entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from vlmbench.errors import VlmbenchError
from vlmbench.reports.model_card import (
    PLACES,
    Published,
    is_of_hub,
    metric_name,
    published,
    scored_tasks,
)
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.schema import Profile

UNREGISTERED = (
    "the hub shows a result once its data set is a registered benchmark, which none of the six "
    "was known to be in November 2026; drafts of the eval.yaml that registers each are in "
    "results/eval_yaml"
)


def entries(
    run: FinishedRun,
    *,
    tasks: Sequence[str] = (),
    profile: Profile = "official",
    allow_part: bool = False,
    source_url: str | None = None,
    source_name: str | None = None,
) -> list[dict[str, Any]]:
    """The list that the file holds; values in percent.

    `source_url`: where the answers can be seen, such as a repository with the run's folder.

    Raises: VlmbenchError as `model_card.model_index`, and for a stand-in or a local copy, which no
    data set of the hub vouches for.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    if source_name and not source_url:
        raise VlmbenchError("--source-name is the name of a source; give its --source-url too")
    found = []
    for task in scored_tasks(run, tasks):
        _check(task)
        score = published(task, profile, allow_part)
        found.append(
            EvalResultEntry(
                dataset_id=task.data.source,
                task_id=task_id(task.task, task.split),
                value=round(100 * score.estimate.mean, PLACES),
                dataset_revision=task.data.revision or None,
                date=_date(run),
                source_url=source_url,
                source_name=source_name,
                notes=_notes(run, task, profile, score),
            )
        )
    documents: list[dict[str, Any]] = eval_result_entries_to_yaml(found)
    return documents


def _date(run: FinishedRun) -> str | None:
    """When the run ended, as ISO 8601; None: an imported one says it otherwise, or not."""
    ended = run.manifest.finished
    try:
        return datetime.fromisoformat(ended).isoformat() if ended else None
    except ValueError:
        return None


def _check(task: FinishedTask) -> None:
    if task.is_mini:
        raise VlmbenchError(
            f"{task.name} is an embedded stand-in, not the benchmark: the hub has no place for its "
            "score; name other tasks with --tasks, or write --to model-index"
        )
    if not is_of_hub(task):
        raise VlmbenchError(
            f"{task.name} was read from a local copy, not from a data set of the hub; give the "
            "run's command again without --data-dir: where the rows are the same, it asks nothing "
            "twice"
        )


def _notes(run: FinishedRun, task: FinishedTask, profile: Profile, score: Published) -> str:
    shown = score.estimate
    parts = [
        metric_name(task, profile, score),
        f"95 % interval {100 * shown.low:.2f} to {100 * shown.high:.2f}",
        f"n {shown.n:,}",
        f"{score.summary.failed:,} failed",
        f"{score.summary.unparsed:,} unparsed",
        f"prompt style {task.prompt_style}",
        f"task version {task.version}",
        f"vlmbench {run.manifest.vlmbench}",
    ]
    parts += [f"responses read {task.reading.name}"] if task.reading.name else []
    return ", ".join(parts)


def task_id(task: str, split: str) -> str:
    """A task of a data set's eval.yaml: "mmbench_dev_en"."""
    return f"{task}_{split}".replace("-", "_")
