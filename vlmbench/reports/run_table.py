"""What a run prints at its end: one table of scores and costs for people, or all as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlmbench.metrics.intervals import Estimate
from vlmbench.reports import summary
from vlmbench.runs.folder.costs import FIGURES, Costs, Figure, Offline, SingleStream
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.manifest import as_builtins
from vlmbench.schema import Profile
from vlmbench.tables import aligned
from vlmbench.task.answer_marks import REMARKED

COLUMNS = (
    "visual_tokens_per_image",
    "single_stream.ttft_s",
    "single_stream.latency_s",
    "offline.samples_per_s",
    "peak_device_memory_bytes",
    "peak_host_memory_bytes",
    "joules_per_sample",
    "usd_per_1000_samples",
)
"""Figures of the table; of both memories the device's, where it is known."""


def profile_of(task: FinishedTask, wanted: Profile) -> Profile:
    """The scoring rules that are shown: "official" where a task lacks those that are wanted."""
    return wanted if wanted in task.summaries else "official"


def as_json(run: FinishedRun, wanted: Profile) -> dict[str, Any]:
    """Scores in percent with their breakdown, and the costs: of each task, and of the run."""
    return {
        "run": str(run.folder),
        "costs": as_builtins(run.costs),
        "tasks": [_document(task, wanted) for task in run.tasks],
    }


def _document(task: FinishedTask, wanted: Profile) -> dict[str, Any]:
    document: dict[str, Any] = {"task": task.name, "score": None}
    if task.summaries:
        document = summary.as_json(
            task.name,
            task.version,
            task.metric,
            profile_of(task, wanted),
            task.summaries,
            task.num_selected,
            task.reading,
            task.marks,
        )
    if task.figures:
        document["figures"] = dict(task.figures)
    return document | {"missing": task.num_missing, "costs": as_builtins(task.costs)}


def as_text(run: FinishedRun, wanted: Profile, width: int | None = None) -> str:
    """A row a task; where all columns are wider than `width`, scores and costs one below another.

    A column of which nothing is known is left out.
    """
    costs = [task.costs for task in run.tasks]
    figures = _columns(costs)
    names = [task.name for task in run.tasks]
    scores = [_scores(task, one, wanted) for task, one in zip(run.tasks, costs, strict=True)]
    shown = [tuple(_shown(figure, one) for figure in figures) for one in costs]
    score_head = ("score", "95 % interval", "n", "failed", "unparsed", "truncated")
    cost_head = tuple(figure.column for figure in figures)
    text = aligned(
        ("task", *score_head, *cost_head),
        [(name, *a, *b) for name, a, b in zip(names, scores, shown, strict=True)],
    )
    if width is not None and max(map(len, text.splitlines())) > width:
        text = "\n\n".join(
            aligned(("task", *head), [(name, *row) for name, row in zip(names, rows, strict=True)])
            for head, rows in ((score_head, scores), (cost_head, shown))
        )
    return "\n".join([text, "", *_notes(run, costs, wanted)])


def details(run: FinishedRun, wanted: Profile) -> str:
    """Every task's scores under all rules, and by category."""
    return "\n\n".join(
        f"{task.name}  {task.metric}, version {task.version}\n"
        + summary.as_text(
            profile_of(task, wanted), task.summaries, task.num_selected, task.reading, task.marks
        )
        for task in run.tasks
        if task.summaries
    )


def _columns(costs: Sequence[Costs]) -> list[Figure]:
    known = [key for key in COLUMNS if any(FIGURES[key].value(one) is not None for one in costs)]
    if "peak_device_memory_bytes" in known and "peak_host_memory_bytes" in known:
        known.remove("peak_host_memory_bytes")
    return [FIGURES[key] for key in known]


def _scores(task: FinishedTask, costs: Costs, wanted: Profile) -> tuple[str, ...]:
    truncated = "-" if costs.truncated is None else f"{costs.truncated:,}"
    if not task.summaries:
        num_asked = task.num_selected - task.num_missing
        return "-", "-", f"{num_asked:,}", f"{task.num_failed:,}", "-", truncated
    found = task.summaries[profile_of(task, wanted)]
    score, interval = _estimate(found.estimate)
    return (
        f"{score} {REMARKED}" if task.remark(profile_of(task, wanted)) else score,
        interval,
        f"{found.estimate.n if found.estimate else 0:,}",
        f"{found.failed:,}",
        f"{found.unparsed:,}",
        truncated,
    )


def _estimate(found: Estimate | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return f"{100 * found.mean:.2f}", f"{100 * found.low:.2f} .. {100 * found.high:.2f}"


def _shown(figure: Figure, costs: Costs) -> str:
    value = figure.shown(costs)
    return "-" if value is None else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _notes(run: FinishedRun, costs: Sequence[Costs], wanted: Profile) -> list[str]:
    remarks = [(task.name, task.remark(profile_of(task, wanted))) for task in run.tasks]
    notes = [f"{REMARKED} {name}: {remark}" for name, remark in remarks if remark]
    notes.append(_profiles(run, wanted))
    alone = [one.single_stream for one in costs if one.single_stream is not None]
    if alone:
        notes.append(_place(alone))
    offline = run.costs.offline
    if offline is not None and offline.samples_per_s is not None:
        notes.append(_throughput(offline, offline.samples_per_s))
    for task, one in zip(run.tasks, costs, strict=True):
        found = one.single_stream
        if found is not None and found.disagreements:
            is_drawn = bool(run.manifest.generation.get("temperature"))
            why = "" if is_drawn else ": batches change the order of sums, and so close choices"
            notes.append(
                f"{task.name}: {found.disagreements:,} of {found.compared:,} answers differ when "
                f"they are asked alone{why}."
            )
        if not task.summaries:
            notes.append(
                f"{task.name}: the answers of this split are not public, so there is no score."
            )
        if task.figures:
            own = ", ".join(f"{name} {value:.6g}" for name, value in task.figures.items())
            notes.append(f"{task.name}: as lmms-eval sums it up: {own}")
    return notes


def _profiles(run: FinishedRun, wanted: Profile) -> str:
    metrics = dict.fromkeys(
        f"{task.metric} ({profile_of(task, wanted)} rules)" for task in run.tasks if task.summaries
    )
    return f"Scores in percent: {', '.join(metrics)}." if metrics else "No scores."


def _place(alone: Sequence[SingleStream]) -> str:
    numbers = sorted({one.n for one in alone})
    n = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    places = "; ".join(dict.fromkeys(place for one in alone if (place := _described(one))))
    text = f"TTFT and latency: medians of {n} samples a task, one request at a time"
    return f"{text} ({places})." if places else f"{text}."


def _described(one: SingleStream) -> str:
    place = one.place
    parts = [place.device, place.dtype]
    if place.num_threads is not None:
        parts.append(f"{place.num_threads} thread{'s' if place.num_threads != 1 else ''}")
    if place.network:
        parts.append(f"server by {place.network}")
    if place.num_idle_workers:
        parts.append(f"{place.num_idle_workers} workers idle")
    return ", ".join(part for part in parts if part)


def _throughput(found: Offline, samples_per_s: float) -> str:
    text = f"The whole run, offline: {_number(samples_per_s)} samples/s"
    if found.device and found.num_devices is not None:
        text += f" on {found.num_devices} x {found.device}"
    if found.device_seconds_per_sample is not None:
        text += f", {_number(1000 * found.device_seconds_per_sample)} ms of device time a sample"
    return f"{text}; loading excluded."
