"""Why samples failed: alike from the first on, which stops a run, and the commonest reasons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.responses import records
from vlmbench.schema import Response

NUM_ALIKE = 10
"""Samples that must all fail alike, before any is answered, for a run to be stopped."""


def stopping(responses: Iterable[Response], folder: Path) -> Iterator[Response]:
    """The responses, until the first `NUM_ALIKE` of a run without an answer have failed alike.

    Raises: VlmbenchError with the reason, after the last of them was handed on.
    """
    source = iter(responses)
    first: list[Response] = []
    is_new = not any(record["response"] is not None for record in records(folder))
    while is_new and len(first) < NUM_ALIKE:
        response = next(source, None)
        if response is None:
            return
        yield response
        first.append(response)
        if response.text is not None or kind_of(response.error) != kind_of(first[0].error):
            break
    else:
        if is_new:
            if isinstance(source, Generator):
                source.close()
            raise VlmbenchError(
                f"the first {NUM_ALIKE} samples all failed alike: {first[0].error}; mend that and "
                "give the same command again, or go on with --max-failures N"
            )
    yield from source


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


def account(folder: Path) -> list[str]:
    """What became of the samples in a run's log: common errors, empty and cut-off answers."""
    last: dict[tuple[str, str], dict[str, object]] = {}
    for record in records(folder):
        key = (str(record["task"]), str(record["id"]))
        if record["response"] is not None or key not in last:
            last[key] = {name: record[name] for name in ("response", "error", "finish_reason")}
    answers = [found for found in last.values() if found["response"] is not None]
    failed = [str(found["error"]) for found in last.values() if found["response"] is None]
    num_cut = sum(found["finish_reason"] == "length" for found in answers)
    num_empty = sum(not str(found["response"]).strip() for found in answers)
    lines = [f"{reason.num_samples:,} failed: {reason.error}" for reason in commonest(failed)]
    if num_empty:
        lines.append(f"{num_empty:,} of {len(answers):,} answers are empty")
    if num_cut:
        lines.append(
            f"{num_cut:,} of {len(answers):,} answers are cut off at the limit of new tokens"
        )
    return lines
