"""A task's summaries as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vlmbench.metrics.intervals import Estimate
from vlmbench.schema import FOLLOWS, Profile
from vlmbench.tables import aligned
from vlmbench.task.answer_marks import AnswerMarks
from vlmbench.task.reading import Reading
from vlmbench.task.scoring import Summary

AS_THEY_ARE = Reading()


def as_json(
    name: str,
    version: int,
    metric: str,
    profile: Profile,
    summaries: Mapping[Profile, Summary],
    total: int,
    reading: Reading = AS_THEY_ARE,
    marks: AnswerMarks | None = None,
) -> dict[str, Any]:
    """Scores in percent under every profile, and the breakdown under `profile`.

    `reading`: how responses were read; `marks`: what they are like, told where it is notable.
    """
    headline = summaries[profile]
    is_notable = marks is not None and marks.is_notable
    return {
        "task": name,
        "version": version,
        "metric": metric,
        "profile": profile,
        **_figures(headline.estimate),
        "samples": headline.num_rows,
        "total": total,
        "failed": headline.failed,
        "unparsed": headline.unparsed,
        "final_answer": reading.final_answer,
        **({"answers": asdict(marks)} if marks is not None and is_notable else {}),
        "profiles": {
            name: _figures(summary.estimate)
            | {"unparsed": summary.unparsed, "follows": FOLLOWS[name]}
            for name, summary in summaries.items()
        },
        "breakdown": {
            dimension: {key: _figures(found) for key, found in categories.items()}
            for dimension, categories in headline.breakdown.items()
        },
    }


def _figures(found: Estimate | None) -> dict[str, Any]:
    """Score and interval in percent, and n."""
    if found is None:
        return {"score": None, "interval": None, "n": 0}
    interval = [100 * found.low, 100 * found.high]
    return {"score": 100 * found.mean, "interval": interval, "n": found.n}


def as_text(
    profile: Profile,
    summaries: Mapping[Profile, Summary],
    total: int,
    reading: Reading = AS_THEY_ARE,
    marks: AnswerMarks | None = None,
) -> str:
    """Scores under every profile as text tables; a star marks `profile`, the one broken down.

    What a reader must know of the responses stands in the row of `profile`.
    """
    notes = {profile: marks.text(profile, reading.final_answer)} if marks else {}
    header = ("profile", "score", "95 % interval", "n", "failed", "unparsed")
    rows = [
        (
            f"{name} *" if name == profile else name,
            *_cells(summary.estimate),
            f"{summary.failed:,}",
            f"{summary.unparsed:,} ({100 * summary.unparsed / max(1, summary.num_rows):.1f} %)",
        )
        for name, summary in summaries.items()
    ]
    samples = f"{summaries[profile].num_rows:,} of {total:,} samples"
    samples += f", {reading.name}" if reading.name else ""
    lines = aligned(header, rows).split("\n")
    place = len(lines) - len(rows) + list(summaries).index(profile)
    if notes.get(profile):
        lines[place] += f"  {notes[profile]}"
    parts = [samples, "", "\n".join(lines)]
    for dimension, categories in summaries[profile].breakdown.items():
        titles = (dimension.replace("_", " "), "score", "95 % interval", "n")
        parts += ["", aligned(titles, [(key, *_cells(e)) for key, e in categories.items()])]
    return "\n".join(parts)


def _cells(found: Estimate | None) -> tuple[str, str, str]:
    if found is None:
        return "-", "-", "0"
    interval = f"{100 * found.low:.2f} .. {100 * found.high:.2f}"
    return f"{100 * found.mean:.2f}", interval, f"{found.n:,}"
