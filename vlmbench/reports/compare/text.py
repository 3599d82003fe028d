"""A comparison as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from vlmbench.metrics.paired import Difference, MeanDifference
from vlmbench.reports.compare.comparison import Comparison, Kind, Listed, TaskComparison
from vlmbench.reports.compare.costs import CostRatio
from vlmbench.reports.costs import shown
from vlmbench.runs.folder.costs import FIGURES
from vlmbench.tables import aligned, csv_safe, shortened

HEADER = (
    *("task", "n", "A", "B", "B - A", "95 % interval", "p", "p (Holm)"),
    *("B up", "B down", "MDE", "unpaired MDE"),
)

LEGEND = """\
n: samples scored in both. p: two-sided, of no difference; Holm: adjusted for the number of tasks.
B up, B down: samples on which B scores higher, or lower, than A.
MDE: minimum detectable effect at 80 % power (paired / unpaired), for p < 0.05; unpaired: for runs
on different samples, as many each."""

MEANINGS = {
    "flips": "samples on which the runs differ",
    "wrong": "samples on which neither run has credit",
    "right": "samples on which both runs have full credit",
}


COST_HEADER = ("cost", "unit", "A", "B", "B / A", "95 % interval", "n")

COST_LEGEND = """\
single stream: one request at a time, medians; offline: all requests together. B / A of times of a
single stream, visual tokens and FLOPs: the geometric mean over the n samples of both, with its
interval; other figures are of one whole pass, which gives none. -: unknown."""


def as_text(found: Comparison) -> str:
    rows = [_row(task, len(found.tasks)) for task in found.tasks]
    if found.mean:
        rows.append(_mean_row(found.mean, len(found.tasks)))
    parts = [
        f"A  {found.a.title}  {found.a.folder}",
        f"B  {found.b.title}  {found.b.folder}",
        f"scores in percent, profile {found.profile}",
        "",
        aligned(HEADER, rows),
        "",
        LEGEND,
        *_notes(found),
        "",
        *(line for task in found.tasks for line in _costs(task)),
        COST_LEGEND,
    ]
    return "\n".join(parts)


def _row(task: TaskComparison, num_tasks: int) -> tuple[str, ...]:
    one = task.difference
    return (
        task.name,
        f"{one.n:,}",
        *_figures(one),
        p_text(task.p_adjusted) if num_tasks > 1 else "-",
        f"{one.num_up:,}",
        f"{one.num_down:,}",
        f"{100 * one.detectable:.2f}",
        f"{100 * one.detectable_unpaired:.2f}",
    )


def _mean_row(mean: MeanDifference, num_tasks: int) -> tuple[str, ...]:
    mde = f"{100 * mean.detectable:.2f}"
    return (f"mean of {num_tasks}", "-", *_figures(mean), "-", "-", "-", mde, "-")


def _figures(found: Difference | MeanDifference) -> tuple[str, ...]:
    interval = f"{100 * found.low:+.2f} .. {100 * found.high:+.2f}"
    means = (f"{100 * found.a:.2f}", f"{100 * found.b:.2f}", f"{100 * found.value:+.2f}")
    return (*means, interval, p_text(found.p))


def p_text(p: float) -> str:
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def _notes(found: Comparison) -> list[str]:
    notes = [
        f"{task.name}: {task.num_only_a:,} samples are scored in A alone, {task.num_only_b:,} in B "
        "alone; the comparison leaves them out."
        for task in found.tasks
        if task.num_only_a or task.num_only_b
    ]
    for task in found.tasks:
        if task.difference.p > 0.05:
            mde = 100 * task.difference.detectable
            notes.append(
                f"{task.name}: no difference found (p > 0.05); one below the MDE of {mde:.1f} "
                "points can be missed."
            )
    return ["", *notes] if notes else []


def _costs(task: TaskComparison) -> list[str]:
    rows = [_cost_row(one) for one in task.ratios]
    return (
        [aligned((f"cost of {task.name}", *COST_HEADER[1:]), rows, num_left=2), ""] if rows else []
    )


def _cost_row(one: CostRatio) -> tuple[str, ...]:
    has_interval = one.low is not None and one.high is not None
    return (
        one.figure.title,
        one.figure.shown_unit,
        shown(one.figure, one.a),
        shown(one.figure, one.b),
        "-" if one.ratio is None else f"{one.ratio:.3f}",
        f"{one.low:.3f} .. {one.high:.3f}" if has_interval else "-",
        "-" if one.n is None else f"{one.n:,}",
    )


def listing_as_text(kind: Kind, samples: Sequence[Listed], with_gold: bool) -> str:
    """A table of samples; long texts are cut, and line breaks become spaces."""
    header = ["task", "id", "A", "B", "response A", "response B"]
    header += ["gold", "question"] if with_gold else []
    rows = []
    for one in samples:
        row = [one.task, one.id, f"{one.a:.2f}", f"{one.b:.2f}"]
        row += [shortened(one.response_a or ""), shortened(one.response_b or "")]
        row += [shortened(" | ".join(one.answers)), shortened(one.question)] if with_gold else []
        rows.append(row)
    title = f"{len(samples):,} {MEANINGS[kind]}"
    return "\n".join([title, "", aligned(header, rows, num_left=len(header))] if rows else [title])


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON; scores and differences in percent."""
    return {
        "a": {"folder": str(found.a.folder), "model": found.a.title},
        "b": {"folder": str(found.b.folder), "model": found.b.title},
        "profile": found.profile,
        "warnings": list(found.warnings),
        "tasks": [_task_record(task) for task in found.tasks],
        "mean": found.mean and _percent(found.mean),
    }


def _task_record(task: TaskComparison) -> dict[str, Any]:
    return {
        "task": task.name,
        "metric": task.metric,
        "n": task.difference.n,
        **_percent(task.difference),
        "p_holm": task.p_adjusted,
        "num_up": task.difference.num_up,
        "num_down": task.difference.num_down,
        "num_clusters": task.difference.num_clusters,
        "detectable_unpaired": 100 * task.difference.detectable_unpaired,
        "num_only_a": task.num_only_a,
        "num_only_b": task.num_only_b,
        "cost_a": asdict(task.cost_a),
        "cost_b": asdict(task.cost_b),
        "cost_ratios": {one.figure.key: _ratio_record(one) for one in task.ratios},
    }


def _ratio_record(one: CostRatio) -> dict[str, Any]:
    """In the figure's unit; the interval is null where there is none."""
    interval = None if one.low is None else [one.low, one.high]
    return {"a": one.a, "b": one.b, "ratio": one.ratio, "interval": interval, "n": one.n}


def _percent(found: Difference | MeanDifference) -> dict[str, Any]:
    return {
        "a": 100 * found.a,
        "b": 100 * found.b,
        "difference": 100 * found.value,
        "interval": [100 * found.low, 100 * found.high],
        "p": found.p,
        "detectable": 100 * found.detectable,
    }


def as_csv(found: Comparison) -> str:
    """A line per task; costs by their key, in its unit."""
    records = []
    for task in found.tasks:
        record = _task_record(task)
        low, high = record.pop("interval")
        for name in ("cost_a", "cost_b", "cost_ratios"):
            del record[name]
        by_key = {one.figure.key: one for one in task.ratios}
        for key in FIGURES:
            one = by_key.get(key)
            for name in ("a", "b", "ratio", "low", "high"):
                record[f"{key} {name}"] = None if one is None else getattr(one, name)
        records.append(record | {"low": low, "high": high})
    return _table(list(records[0]), [list(record.values()) for record in records])


def listing_as_csv(samples: Sequence[Listed]) -> str:
    names = [field.name for field in fields(Listed)]
    rows = [[getattr(one, name) for name in names] for one in samples]
    rows = [[" | ".join(v) if isinstance(v, tuple) else v for v in row] for row in rows]
    return _table(names, rows)


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """CSV in which an apostrophe keeps text that looks like a formula from being run as one."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(names)
    writer.writerows([[csv_safe(value) for value in row] for row in rows])
    return file.getvalue()
