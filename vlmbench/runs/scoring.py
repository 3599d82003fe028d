"""A run scored: from the log of its folder to scores files and summaries, without a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from vlmbench.runs.folder.responses import Responses
from vlmbench.runs.folder.scores import VERSION, ScoresFile
from vlmbench.runs.plan import Item
from vlmbench.schema import Json, Prediction, Profile, Sample
from vlmbench.task.binding import BoundTask
from vlmbench.task.scoring import Summary, Tally, score


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """One task of a run, scored."""

    name: str
    """`TASK@SPLIT`."""

    version: int
    metric: str
    num_selected: int
    num_failed: int
    """Samples with an error instead of a response."""

    num_missing: int
    """Samples that were not run, as the run was stopped."""

    summaries: Mapping[Profile, Summary]
    """Empty where the split's answers are not public."""

    scores: Path | None
    """One JSON line a sample, in the order of their ids."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """What the harness that the task is from makes of the same answers, by metric, as it is."""

    def as_manifest(self) -> dict[str, Json]:
        """What the run's manifest keeps of it: with the scores file, enough to read it again."""
        figures: dict[str, Json] = {"figures": self.figures} if self.figures else {}
        return figures | {
            "metric": self.metric,
            "num_selected": self.num_selected,
            "num_missing": self.num_missing,
            "num_failed": self.num_failed,
            "profiles": list(self.summaries),
            "scores_version": VERSION if self.scores else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run came to; everything in it can be read again from its folder."""

    folder: Path
    tasks: Sequence[TaskResult]
    problems: Sequence[str] = ()
    """Why samples are missing, a line each."""

    is_left_to_others: bool = False
    """True under a launcher where other processes are still at work: the last one reports."""

    @property
    def num_failed(self) -> int:
        return sum(task.num_failed for task in self.tasks)

    @property
    def num_missing(self) -> int:
        return sum(task.num_missing for task in self.tasks)


def scored(
    folder: Path, sources: Sequence[BoundTask], items: Sequence[Item], problems: Sequence[str] = ()
) -> RunResult:
    """Score what a run's folder has of these items, and write its scores files."""
    selected: dict[str, set[str]] = {source.name: set() for source in sources}
    for item in items:
        selected[item.task].add(item.id)
    responses = Responses(folder)
    try:
        tasks = [_score_task(folder, s, selected[s.name], responses) for s in sources]
    finally:
        responses.close()
    return RunResult(folder=folder, tasks=tasks, problems=problems)


def _score_task(
    folder: Path, source: BoundTask, selected: Set[str], responses: Responses
) -> TaskResult:
    tally = Tally(source.task.profiles)
    missing = failed = 0
    has_answers = True

    def pairs() -> Iterator[tuple[Sample, Prediction]]:
        nonlocal missing, failed, has_answers
        for row in source.rows:
            sample = source.task.read(row)
            if sample.id not in selected:
                continue
            record = responses.get(source.name, sample.id)
            has_answers &= bool(sample.answers)  # all or none: `Selection` sees to that
            if record is None:
                missing += 1
                continue
            response, error = record["response"], record["error"]
            failed += response is None
            if has_answers:
                yield sample, Prediction(id=sample.id, response=response, error=error)

    path = folder / f"scores-{source.name}.jsonl"
    with ScoresFile(path) as file:
        for scored in score(source.task, pairs()):
            tally.add(scored)
            file.add(scored.record("official"))
        if not has_answers:
            file.discard()
    return TaskResult(
        name=source.name,
        version=source.task.version,
        metric=source.task.metric,
        num_selected=len(selected),
        num_failed=failed,
        num_missing=missing,
        summaries={p: tally.summary(p) for p in source.task.profiles} if has_answers else {},
        scores=path if has_answers else None,
        figures=source.figures(folder),
    )
