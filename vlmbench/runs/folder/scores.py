"""scores-TASK@SPLIT.jsonl: a line for each scored sample, in the order of their ids."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from msgspec import UNSET, UnsetType

from vlmbench import files
from vlmbench.files import writing
from vlmbench.schema import Json, Profile, Verdict
from vlmbench.task.scoring import Score

VERSION = 2
"""Version of record keys; 2 added cluster, what each profile could not parse, and `breakdown`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """One sample's scores, as a line of the file says them; unset keys are not written."""

    id: str | int | float
    value: float | None
    """What counts in the headline of the profile that the file was written for; None: nothing."""

    vanilla: float | UnsetType | None = UNSET
    """The row's own credit, where the task rotates options; None: the model failed on it."""

    parsed: object = UNSET
    """The answer as it was compared, by that profile; unset: the model failed."""

    how: str | UnsetType = UNSET
    """The rule that found the answer."""

    error: str | UnsetType = UNSET
    profiles: Mapping[Profile, float | None]
    """What counts in each profile's headline."""

    vanilla_profiles: Mapping[Profile, float] | UnsetType = UNSET
    unparsed: tuple[str, ...]
    """Profiles whose rules found no answer."""

    cluster: str
    """Equal for samples that are no independent draws: see `Score.cluster`."""

    breakdown: Mapping[str, tuple[str, ...]]
    harness_value: float | UnsetType | None = UNSET
    """Credit by the other harness in an imported run; None: it logged none."""

    final_answer: str | UnsetType = UNSET
    """The text that was scored, where that is not the response as it is."""

    final_answer_how: tuple[str, ...] | UnsetType = UNSET
    """The marks by which it was found: see `metrics.final_answer.Found`."""

    @property
    def is_circular(self) -> bool:
        """True if the task rotates options, so that only whole groups count."""
        return self.vanilla is not UNSET

    @property
    def own_values(self) -> Mapping[Profile, float | None]:
        """The row's own credit by profile, whatever its rotations got."""
        return self.profiles if self.vanilla_profiles is UNSET else self.vanilla_profiles


def record_of(
    score: Score, profile: Profile, harness_value: float | UnsetType | None = UNSET
) -> ScoreRecord:
    """The record of a score, with what `profile` parsed."""
    verdicts, verdict, found = score.verdicts, score.verdicts.get(profile), score.found
    vanilla: float | UnsetType | None = UNSET
    vanilla_profiles: Mapping[Profile, float] | UnsetType = UNSET
    if score.is_circular:
        vanilla = verdict.value if verdict else None
        vanilla_profiles = {name: own.value for name, own in verdicts.items()}
    return ScoreRecord(
        id=score.id,
        value=score.value(profile),
        vanilla=vanilla,
        parsed=verdict.parsed if verdict else UNSET,
        how=verdict.how if verdict else UNSET,
        error=score.error or UNSET,
        profiles={name: score.value(name) for name in verdicts},
        vanilla_profiles=vanilla_profiles,
        unparsed=tuple(name for name, own in verdicts.items() if own.parsed is None),
        cluster=score.cluster,
        breakdown=score.breakdown,
        harness_value=harness_value,
        final_answer=found.text if found else UNSET,
        final_answer_how=found.how if found else UNSET,
    )


def score_of(record: ScoreRecord, profiles: Iterable[Profile]) -> Score:
    """The score of a record, enough for a `Tally`.

    Of what was parsed it has one profile's; for the others, whether anything was.

    Raises: ValueError where a profile has no value, or one that is no finite number.
    """
    verdicts = {} if record.how is UNSET else dict(_verdicts(record, profiles, record.how))
    circular = None
    if verdicts and record.is_circular and record.value is not None:
        circular = {profile: _finite(record, profile, record.profiles) for profile in profiles}
    return Score(
        id=record.id,
        cluster=record.cluster,
        verdicts=verdicts,
        error="" if record.error is UNSET else record.error,
        circular=circular,
        is_circular=record.is_circular,
        breakdown=record.breakdown,
    )


def _verdicts(
    record: ScoreRecord, profiles: Iterable[Profile], how: str
) -> Iterator[tuple[Profile, Verdict]]:
    parsed: Json = "" if record.parsed in (UNSET, None) else cast(Json, record.parsed)
    for profile in profiles:
        value = _finite(record, profile, record.own_values)
        found = None if profile in record.unparsed else parsed
        yield profile, Verdict(value=value, parsed=found, how=how)


def _finite(record: ScoreRecord, profile: Profile, values: Mapping[Profile, float | None]) -> float:
    value = values.get(profile)
    if value is None or not 0 <= value <= 1:
        raise ValueError(f"the value of sample {record.id!r} by {profile!r} is {value}")
    return value


def read_scores(path: Path) -> Iterator[ScoreRecord]:
    """The records of a file, one line read at a time.

    Raises: VlmbenchError for a file that is gone; ValueError for a line that is no record.
    """
    with files.opened(path) as lines:
        for line in lines:
            yield files.decode_as(line, ScoreRecord)


class ScoresFile:
    """Takes records in any order; the file appears whole, and sorted, when the block ends well.

    Memory holds the ids, not the lines.

    Raises: VlmbenchError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._unsorted = path.with_name(f".{path.name}.{os.getpid()}.unsorted")
        self._places: list[tuple[str, int, int]] = []
        self._size = 0
        self._is_wanted = True

    def __enter__(self) -> ScoresFile:
        with self._writing():
            self._file = files.new_file(self._unsorted)
        return self

    def add(self, record: ScoreRecord) -> None:
        line = files.encode(record)
        with self._writing():
            self._file.write(line)
        self._places.append((natural(str(record.id)), self._size, len(line)))
        self._size += len(line)

    def discard(self) -> None:
        """Leave no file."""
        self._is_wanted = False

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._writing():
                self._file.close()
                if kind is None and self._is_wanted:
                    self._sort()
        finally:
            for path in (self._unsorted, self._partial):
                path.unlink(missing_ok=True)

    def _sort(self) -> None:
        with files.new_file(self._partial) as output:
            if self._size:
                with (
                    self._unsorted.open("rb") as file,
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines,
                ):
                    for _, start, length in sorted(self._places):
                        output.write(lines[start : start + length])
        self._partial.replace(self._path)

    def _writing(self) -> AbstractContextManager[None]:
        safe = "everything answered is safe, the same command goes on"
        return writing(self._path, "scores", safe)


def natural(id: str) -> str:
    """A key that sorts runs of digits by value: a2 before a10."""
    return re.sub(r"[0-9]+", lambda digits: f"{len(digits[0]):04}{digits[0]}", id)
