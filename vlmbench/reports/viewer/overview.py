"""The report's first page: the figures of every task of a run, and how the run was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vlmbench.reports import efficiency
from vlmbench.reports.efficiency import Spread
from vlmbench.reports.summary import as_json
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.manifest import as_builtins

HIDDEN = ("schema_version", "tasks", "prompt", "data")
"""Parts of a manifest that the page shows elsewhere, or not."""

SPREADS = (
    ("visual_tokens_per_image", "visual tokens per picture", ""),
    ("prompt_tokens", "prompt tokens", ""),
    ("generated_tokens", "generated tokens", ""),
    ("first_token_s", "time to first token", "s"),
    ("per_token_s", "time per further token", "s"),
    ("latency_s", "latency", "s"),
)

FIGURES = (
    ("samples_per_s", "samples per second and device", ""),
    ("tokens_per_s", "generated tokens per second and device", ""),
    ("peak_device_memory_bytes", "peak device memory", "bytes"),
    ("peak_host_memory_bytes", "peak host memory", "bytes"),
    ("flops_per_sample", "FLOPs per sample", "flops"),
    ("flops_utilisation", "model FLOPs utilisation", "share"),
    ("energy_per_sample_j", "energy per sample", "J"),
)


def of_run(run: FinishedRun, name: str) -> dict[str, Any]:
    """What the page says of a run as a whole; `name` is the run's in addresses."""
    manifest = as_builtins(run.manifest)
    return {
        "name": name,
        "title": run.title,
        "folder": str(run.folder),
        "complete": run.is_complete,
        "manifest": {key: value for key, value in manifest.items() if key not in HIDDEN},
    }


def of_task(run: FinishedRun, task: FinishedTask) -> dict[str, Any]:
    """A task's figures; no score where the split's answers are not public.

    Raises: VlmbenchError for a run's folder that is not whole.
    """
    figures: dict[str, Any] = {"score": None, "interval": None, "profiles": {}, "breakdown": {}}
    if task.summaries:
        figures = as_json(
            task.name, task.version, task.metric, "official", task.summaries, task.num_selected
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
        "prompt": as_builtins(prompt),
        "data": as_builtins(task.data),
        "efficiency": _efficiency(task),
    }


def _efficiency(task: FinishedTask) -> dict[str, Any]:
    """What is known of its costs: [label, unit, figures] each."""
    found = efficiency.of_task(task)
    spreads: list[list[Any]] = []
    for name, label, unit in SPREADS:
        spread: Spread | None = getattr(found, name)
        if spread is not None:
            spreads.append([label, unit, _rounded(asdict(spread))])
    figures = [[label, unit, getattr(found, name)] for name, label, unit in FIGURES]
    return {
        "spreads": spreads,
        "figures": [figure for figure in figures if figure[2] is not None],
        "device": found.device,
        "dtype": found.dtype,
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}
