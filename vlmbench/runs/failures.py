"""Why samples failed: what ends a run early, and the commonest reasons at its end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from vlmbench.runs.folder.responses import ResponseRecord, records

NUM_ALIKE = 10
"""Samples that must all fail alike, before any is answered, for a run to be stopped."""


class StopRule:
    """Decides if failures end a run: too many, or all of the first ones for one reason."""

    def __init__(self, folder: Path, max_failures: int | None) -> None:
        """`folder`: the run's; where it has answers already, the model is known to answer.

        With `max_failures`, more failed samples than that end the run, and nothing else does.
        """
        self._max_failures = max_failures
        self._num_failed = 0
        self._first_error = ""
        is_new = not any(record.response is not None for record in records(folder))
        self._looks_for_alike = max_failures is None and is_new

    def problem(self, text: str | None, error: str) -> str:
        """Take the next response into account; why the run must end, or empty.

        `text`: None if the sample failed, by `error`.
        """
        self._num_failed += text is None
        if self._max_failures is not None and self._num_failed > self._max_failures:
            return f"stopped: more than {self._max_failures} samples failed"
        if not self._looks_for_alike:
            return ""
        self._first_error = self._first_error or error
        if text is not None or kind_of(error) != kind_of(self._first_error):
            self._looks_for_alike = False
        elif self._num_failed == NUM_ALIKE:
            return (
                f"stopped: the first {NUM_ALIKE} samples all failed alike: {self._first_error}; "
                "mend that and give the same command again, or go on with --max-failures N"
            )
        return ""


class Reason(NamedTuple):
    """An error, as the first sample had it, and how many samples failed alike."""

    error: str
    num_samples: int


def commonest(errors: Iterable[str], number: int = 3) -> list[Reason]:
    """The reasons that the most samples failed for, most first."""
    examples: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for error in errors:
        kind = kind_of(error)
        examples.setdefault(kind, error)
        counts[kind] += 1
    return [Reason(examples[kind], count) for kind, count in counts.most_common(number)]


def kind_of(error: str) -> str:
    """Equal for errors that differ in numbers, names of requests or addresses alone."""
    return re.sub(r"\S*\d\S*", "0", error)


class _Fate(NamedTuple):
    is_answered: bool
    is_empty: bool
    is_cut: bool
    error: str


def account(folder: Path, tasks: Collection[str]) -> list[str]:
    """What became of the samples of a run's tasks: common errors, empty and cut-off answers."""
    last: dict[tuple[str, str], _Fate] = {}
    for record in records(folder):
        key = (record.task, record.id)
        if record.task in tasks and (record.response is not None or key not in last):
            last[key] = _fate(record)
    answers = [fate for fate in last.values() if fate.is_answered]
    failed = [fate.error for fate in last.values() if not fate.is_answered]
    num_empty, num_cut = (sum(f.is_empty for f in answers), sum(f.is_cut for f in answers))
    lines = [f"{reason.num_samples:,} failed: {reason.error}" for reason in commonest(failed)]
    if num_empty:
        lines.append(f"{num_empty:,} of {len(answers):,} answers are empty")
    if num_cut:
        lines.append(
            f"{num_cut:,} of {len(answers):,} answers are cut off at the limit of new tokens"
        )
    return lines


def _fate(record: ResponseRecord) -> _Fate:
    text = record.response
    return _Fate(
        is_answered=text is not None,
        is_empty=text is not None and not text.strip(),
        is_cut=record.finish_reason == "length",
        error=record.error,
    )
