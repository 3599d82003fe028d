"""The report's first page: scores and costs of every task of a run, and how the run was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vlmbench.reports import efficiency
from vlmbench.reports.efficiency import FIGURES, Spread
from vlmbench.reports.summary import as_json
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.manifest import as_builtins

HIDDEN = ("schema_version", "tasks", "prompt", "data")
"""Keys of the manifest that this part of the page leaves out."""


def of_run(run: FinishedRun, name: str) -> dict[str, Any]:
    """The page's data of a run as a whole; `name` stands for the run in the page's addresses."""
    manifest = as_builtins(run.manifest)
    return {
        "name": name,
        "title": run.title,
        "folder": str(run.folder),
        "complete": run.is_complete,
        "manifest": {key: value for key, value in manifest.items() if key not in HIDDEN},
    }


def of_task(run: FinishedRun, task: FinishedTask) -> dict[str, Any]:
    """A task's scores and costs; no score where the split's answers are not public.

    Raises: VlmbenchError for a run folder that is incomplete or damaged.
    """
    figures: dict[str, Any] = {"score": None, "interval": None, "profiles": {}, "breakdown": {}}
    if task.summaries:
        figures = as_json(
            *(task.name, task.version, task.metric, "official", task.summaries),
            *(task.num_selected, task.reading, task.marks),
        )
    prompt = task.prompt
    return figures | {
        "task": task.name,
        "version": task.version,
        "metric": task.metric,
        "selected": task.num_selected,
        "rows": task.num_rows,
        "failed": task.num_failed,
        "missing": task.num_missing,
        "mini": task.is_mini,
        "style": prompt.name,
        "reading": task.reading.name,
        "remark": task.remark("official") if task.summaries else "",
        "prompt": as_builtins(prompt),
        "data": as_builtins(task.data),
        "efficiency": _efficiency(task),
    }


def _efficiency(task: FinishedTask) -> dict[str, Any]:
    """The known costs, as [title, unit, value] each."""
    found = efficiency.of_task(task)
    spreads: list[list[Any]] = []
    figures: list[list[Any]] = []
    for name, figure in FIGURES.items():
        value = getattr(found, name)
        if isinstance(value, Spread):
            spreads.append([figure.title, figure.unit, _rounded(asdict(value))])
        elif value is not None:
            figures.append([figure.title, figure.unit, value])
    return {
        "spreads": spreads,
        "figures": figures,
        "device": found.device,
        "dtype": found.dtype,
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}
