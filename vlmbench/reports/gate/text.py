"""A decision as text, whose last line is for a CI log, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from vlmbench.reports.gate.decision import Criterion, Decision
from vlmbench.tables import aligned

HEADER = ("criterion", "of", "n", "failed", "found", "at least", "at most", "limit", "answer")

LEGEND = """\
drop, gain: candidate less baseline, in points; latency: candidate over baseline. At least, at most:
one-sided confidence limits, 95 % and, where one criterion of several can say NO-GO, more. failed:
in one run alone; counted as the worst in one limit and the best in the other."""


def as_text(found: Decision) -> str:
    parts = [
        f"A  baseline   {found.baseline.title}  {found.baseline.folder}",
        f"B  candidate  {found.candidate.title}  {found.candidate.folder}",
        f"profile {found.profile}",
        "",
        aligned(HEADER, [_row(one) for one in found.criteria], num_left=2),
        "",
        LEGEND,
        "",
        *_notes(found),
        line(found),
    ]
    return "\n".join(parts)


def _notes(found: Decision) -> Iterator[str]:
    for one in found.criteria:
        if one.kind == "drop" and one.num_left_out:
            yield (
                f"{one.name}: {one.num_left_out:,} samples are left out, which one run alone was "
                "asked, or on which both failed"
            )
        if advice := way_out(one):
            yield f"{one.kind} of {one.name}: {advice}"


def line(found: Decision) -> str:
    """The answer and what decided it, in one line."""
    if found.answer == "GO":
        return f"GO: {', '.join(_kept(found))}"
    deciding = [one for one in found.criteria if one.answer == found.answer]
    return f"{found.answer}: {'; '.join(map(_said, deciding))}"


def _kept(found: Decision) -> Iterator[str]:
    names = [one.name for one in found.criteria if one.kind == "drop"]
    points = f"{found.limits.max_drop:g} point{'s' if found.limits.max_drop != 1 else ''}"
    yield f"no drop of more than {points} in {', '.join(names)}"
    if found.limits.min_gain is not None:
        yield f"a gain of at least {found.limits.min_gain:g}"
    if found.limits.max_latency_ratio is not None:
        yield f"at most {found.limits.max_latency_ratio:g} times the latency"


def way_out(one: Criterion) -> str:
    """What an inconclusive criterion would need; empty where it is decided."""
    if one.answer != "INCONCLUSIVE":
        return ""
    if one.reason:
        return one.reason
    if one.more is None:
        text = "the value found lies at the limit, so that no number of samples is sure to decide"
    elif one.kind == "latency":
        text = f"{one.more:,} more timed samples (--latency {one.n + one.more}) would decide"
    else:
        of = "" if one.left is not None else " of these tasks together"
        text = f"{one.more:,} more samples{of} would decide"
    text += " in 80 % of cases, if the value stays" if one.more is not None else ""
    if one.left is not None and (one.more is None or one.more > one.left):
        text += f"; the split has {f'{one.left:,}' if one.left else 'no'} more"
    if one.low is not None and one.kind == "drop":
        text += f"; these say GO from --max-drop {math.ceil(-100 * one.low) / 100:.2f}"
    return text


def _said(one: Criterion) -> str:
    what = f"{one.kind} of {one.name}"
    if one.reason:
        return f"{what}: {one.reason}"
    bounds = f"{_shown(one, one.low)} .. {_shown(one, one.high)}"
    return f"{what} {_shown(one, one.value)} ({bounds}), limit {_shown(one, one.limit)}"


def _row(one: Criterion) -> tuple[str, ...]:
    values = (one.value, one.low, one.high, one.limit)
    numbers = (_shown(one, value) for value in values)
    return (one.kind, one.name, f"{one.n:,}", f"{one.num_failed:,}", *numbers, one.answer)


def _shown(one: Criterion, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if one.kind == "latency" else f"{value:+.2f}"


def as_json(found: Decision) -> dict[str, Any]:
    """Differences in points of percent; latency as ratios."""
    return {
        "answer": found.answer,
        "line": line(found),
        "baseline": {"folder": str(found.baseline.folder), "model": found.baseline.title},
        "candidate": {"folder": str(found.candidate.folder), "model": found.candidate.title},
        "profile": found.profile,
        "limits": asdict(found.limits),
        "criteria": [asdict(one) | {"way_out": way_out(one)} for one in found.criteria],
        "warnings": list(found.warnings),
    }
