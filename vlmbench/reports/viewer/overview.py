"""The report's first page: scores and costs of every task of a run, and how the run was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vlmbench.errors import VlmbenchError
from vlmbench.reports import costs, efficiency
from vlmbench.reports.board import columns, rows
from vlmbench.reports.efficiency import Spread
from vlmbench.reports.summary import as_json
from vlmbench.runs.folder.costs import FIGURES
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.manifest import as_builtins

SHOWN = (
    *("tokens", "ttft", "per-token", "latency", "samples/s", "device-time", "device-memory"),
    *("host-memory", "flops", "mfu", "energy", "price", "truncated"),
)
"""Costs beside the scores, by their names on the command line."""

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
        "costs": _costs(task),
        "alone": _alone(task),
        "log": _log(task),
    }


def heads() -> list[list[str]]:
    """The costs that the page shows: key, symbol, unit, scenario."""
    return [
        [figure.key, figure.symbol, figure.shown_unit, costs.scenario(figure)]
        for figure in map(costs.figure, SHOWN)
    ]


def over_tasks(runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """Each run's mean score and costs over its tasks; empty unless all runs have the same ones."""
    try:
        tables = rows.board_of(runs, (), allow_mixed=True).tables
    except VlmbenchError:  # a run that is shown twice
        return [{} for _ in runs]
    if len(tables) != 1 or len(tables[0].rows) != len(runs):
        return [{} for _ in runs]
    (table,) = tables
    found = []
    for row in table.rows:
        figures = map(costs.figure, SHOWN)
        values = {figure.key: columns.cost(table, row, figure) for figure in figures}
        mean = columns.mean(table, row) if columns.has_means(table) else None
        found.append({"mean": mean and asdict(mean), "costs": _shown(values)})
    return found


def _shown(values: Mapping[str, float | None]) -> dict[str, str]:
    """Texts of what is known."""
    known = {key: value for key, value in values.items() if value is not None}
    return {key: costs.shown(FIGURES[key], value) for key, value in known.items()}


def _costs(task: FinishedTask) -> dict[str, str]:
    found = task.costs
    return _shown({key: figure.value(found) for key, figure in FIGURES.items()})


def _alone(task: FinishedTask) -> str:
    """How latency was measured."""
    found = task.costs.single_stream
    if found is None:
        return ""
    place, parts = found.place, [f"{found.n} samples, one at a time"]
    parts += [part for part in (place.device, place.dtype) if part]
    parts += [f"{place.num_threads} threads"] if place.num_threads else []
    parts += [f"over {place.network}"] if place.network else []
    parts += [f"{place.num_idle_workers} idle workers"] if place.num_idle_workers else []
    if found.disagreements:
        parts.append(f"{found.disagreements} of {found.compared} answers differ from the run's")
    return ", ".join(parts)


def _log(task: FinishedTask) -> dict[str, Any]:
    """What the log says of its samples, as [title, unit, percentiles] each."""
    found = efficiency.of_task(task)
    values = ((figure, getattr(found, name)) for name, figure in efficiency.FIGURES.items())
    return {
        "spreads": [
            [figure.title, figure.unit, _rounded(asdict(value))]
            for figure, value in values
            if isinstance(value, Spread)
        ],
        "device": found.device,
        "dtype": found.dtype,
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}
