"""A comparison for people, for programs and for spreadsheets."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from vlmbench.metrics.paired import Difference, MeanDifference
from vlmbench.reports.compare.comparison import Comparison, Kind, Listed, TaskComparison
from vlmbench.reports.efficiency import Efficiency
from vlmbench.tables import aligned, csv_safe, shortened

HEADER = (
    *("task", "n", "A", "B", "B - A", "95 % interval", "p", "p (Holm)"),
    *("B up", "B down", "sees", "unpaired"),
)

LEGEND = """\
n: samples scored in both. p: of no difference, two-sided; Holm: adjusted for the number of tasks.
B up, B down: samples on which B has more, or less, than A. sees: the difference that two such
runs show (p < 0.05) in 4 of 5 cases; unpaired: the same on different samples for each run."""

MEANINGS = {
    "flips": "samples on which the runs differ",
    "wrong": "samples on which neither run has credit",
    "right": "samples on which both runs have full credit",
}


@dataclass(frozen=True, slots=True)
class _Cost:
    title: str
    field: str
    """Of an `Efficiency`."""
    statistic: str = ""
    """Of a `Spread`."""
    unit: float = 1

    def of(self, efficiency: Efficiency) -> float | None:
        value = getattr(efficiency, self.field)
        if value is None:
            return None
        number: float = getattr(value, self.statistic) if self.statistic else value
        return number / self.unit


COSTS = (
    _Cost("tokens an image", "visual_tokens_per_image", "mean"),
    _Cost("prompt tokens", "prompt_tokens", "mean"),
    _Cost("new tokens", "generated_tokens", "mean"),
    _Cost("first token s", "first_token_s", "p50"),
    _Cost("latency s", "latency_s", "p50"),
    _Cost("samples/s", "samples_per_s"),
    _Cost("GFLOP", "flops_per_sample", unit=1e9),
    _Cost("joules", "energy_per_sample_j"),
    _Cost("GPU GiB", "peak_device_memory_bytes", unit=2**30),
)


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
        aligned(
            ("cost of a sample", "", *(cost.title for cost in COSTS)), _costs(found), num_left=2
        ),
        "",
        "Medians for times, means else; of one device or CPU worker; -: not known.",
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
    seen = f"{100 * mean.detectable:.2f}"
    return (f"mean of {num_tasks}", "-", *_figures(mean), "-", "-", "-", seen, "-")


def _figures(found: Difference | MeanDifference) -> tuple[str, ...]:
    interval = f"{100 * found.low:+.2f} .. {100 * found.high:+.2f}"
    means = (f"{100 * found.a:.2f}", f"{100 * found.b:.2f}", f"{100 * found.value:+.2f}")
    return (*means, interval, p_text(found.p))


def p_text(p: float) -> str:
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def _notes(found: Comparison) -> list[str]:
    notes = [
        f"{task.name}: {task.num_only_a:,} samples are scored in A alone, {task.num_only_b:,} in B "
        "alone; they do not count here."
        for task in found.tasks
        if task.num_only_a or task.num_only_b
    ]
    for task in found.tasks:
        if task.difference.p > 0.05:
            seen = 100 * task.difference.detectable
            notes.append(f"{task.name}: no difference seen; one below {seen:.1f} may be missed.")
    return ["", *notes] if notes else []


def _costs(found: Comparison) -> list[tuple[str, ...]]:
    return [
        (task.name if label == "A" else "", label, *(_cost(cost.of(spent)) for cost in COSTS))
        for task in found.tasks
        for label, spent in (("A", task.cost_a), ("B", task.cost_b))
    ]


def _cost(value: float | None) -> str:
    if value is None:
        return "-"
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def listing_as_text(kind: Kind, samples: Sequence[Listed], with_gold: bool) -> str:
    """Long texts are cut, and line breaks become spaces."""
    header = ["task", "id", "A", "B", "A says", "B says"]
    header += ["right", "question"] if with_gold else []
    rows = []
    for one in samples:
        row = [one.task, one.id, f"{one.a:.2f}", f"{one.b:.2f}"]
        row += [shortened(one.response_a or ""), shortened(one.response_b or "")]
        row += [shortened(" | ".join(one.answers)), shortened(one.question)] if with_gold else []
        rows.append(row)
    title = f"{len(samples):,} {MEANINGS[kind]}"
    return "\n".join([title, "", aligned(header, rows, num_left=len(header))] if rows else [title])


def as_json(found: Comparison) -> dict[str, Any]:
    """Scores and differences in percent, as everywhere."""
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
    }


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
    """A line a task; costs as in the text."""
    records = []
    for task in found.tasks:
        record = _task_record(task)
        low, high = record.pop("interval")
        for label in ("a", "b"):
            del record[f"cost_{label}"]
            spent = getattr(task, f"cost_{label}")
            record |= {f"{cost.title} {label.upper()}": cost.of(spent) for cost in COSTS}
        records.append(record | {"low": low, "high": high})
    return _table(list(records[0]), [list(record.values()) for record in records])


def listing_as_csv(samples: Sequence[Listed]) -> str:
    names = [field.name for field in fields(Listed)]
    rows = [[getattr(one, name) for name in names] for one in samples]
    rows = [[" | ".join(v) if isinstance(v, tuple) else v for v in row] for row in rows]
    return _table(names, rows)


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Cells of text that a spreadsheet would run as a formula are kept text by an apostrophe."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(names)
    writer.writerows([[csv_safe(value) for value in row] for row in rows])
    return file.getvalue()
