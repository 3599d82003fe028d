"""A run scored: from the log of its folder to scores files and summaries, without a model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from msgspec import UNSET

from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder import layout
from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.runs.folder.manifest import TaskRecord
from vlmbench.runs.folder.responses import Responses
from vlmbench.runs.folder.scores import VERSION, ScoresFile, read_scores, record_of
from vlmbench.runs.opening import data_record
from vlmbench.runs.plan import Item
from vlmbench.schema import Prediction, Sample
from vlmbench.task.binding import BoundTask, PromptSettings
from vlmbench.task.reading import Reading
from vlmbench.task.scoring import UNSCORED, Tally, score

AS_THEY_ARE = Reading()


def scored(
    folder: Path,
    sources: Sequence[BoundTask],
    items: Sequence[Item],
    prompt: PromptSettings,
    reading: Reading = AS_THEY_ARE,
) -> tuple[FinishedTask, ...]:
    """Score what a run's folder has of these items, and write its scores files.

    Where all of a task's items were scored before among more, as after a run with --limit in a
    whole run's folder, all of those are scored again, so that no score is cut.
    """
    selected: dict[str, set[str]] = {source.name: set() for source in sources}
    for item in items:
        selected[item.task].add(item.id)
    for name, ids in selected.items():
        before = _scored_ids(layout.scores_file(folder, name))
        if ids < before:
            print(
                f"vlmbench: {name}: {folder} has scores of {len(before):,} samples, these "
                f"{len(ids):,} among them; all of them stay scored",
                file=sys.stderr,
            )
            ids |= before
    responses = Responses(folder)
    try:
        return tuple(
            _scored(folder, source, selected[source.name], responses, prompt, reading)
            for source in sources
        )
    finally:
        responses.close()


def _scored_ids(path: Path) -> set[str]:
    """Ids in a scores file; empty where there is none that can be read."""
    try:
        return {str(record.id) for record in read_scores(path)}
    except (VlmbenchError, ValueError):
        return set()


def _scored(
    folder: Path,
    source: BoundTask,
    selected: Set[str],
    responses: Responses,
    prompt: PromptSettings,
    reading: Reading,
) -> FinishedTask:
    profiles = source.task.profiles
    tally = Tally(profiles)
    unscored: list[str] = []
    missing = failed = 0
    has_answers = True
    group_sizes = Counter[str]()

    def pairs() -> Iterator[tuple[Sample, Prediction]]:
        nonlocal missing, failed, has_answers
        for row in source.rows:
            sample = source.task.read(row)
            if sample.circular_group:
                group_sizes[sample.circular_group] += 1
            if sample.id not in selected:
                continue
            record = responses.get(source.name, sample.id)
            has_answers &= bool(sample.answers)  # all or none: `Selection` sees to that
            if record is None:
                missing += 1
                continue
            failed += record.response is None
            if has_answers:
                yield (
                    sample,
                    Prediction(
                        id=sample.id,
                        response=record.response,
                        error=record.error,
                        is_cut_off=record.finish_reason == "length",
                    ),
                )

    with ScoresFile(layout.scores_file(folder, source.name)) as file:
        for one in score(source.task, pairs(), reading, group_sizes):
            tally.add(one)
            if one.error.startswith(UNSCORED):
                unscored.append(f"{source.name}/{one.id} {one.error}")
            file.add(record_of(one, "official"))
        if not has_answers:
            file.discard()
    figures = source.figures(folder)
    marks = tally.answer_marks()
    return FinishedTask(
        folder=folder,
        name=source.name,
        record=TaskRecord(
            figures=figures or UNSET,
            metric=source.task.metric,
            num_selected=len(selected),
            num_missing=missing,
            num_failed=failed + len(unscored),
            profiles=profiles if has_answers else (),
            scores_version=VERSION if has_answers else None,
            reading=UNSET if reading.is_default else reading,
            answer_marks=marks if marks.is_notable else UNSET,
        ),
        data=data_record(source),
        prompt=prompt,
        problems=(f"{len(unscored):,} answers cannot be scored; the first: {unscored[0]}",)
        if unscored
        else (),
        summaries={profile: tally.summary(profile) for profile in profiles} if has_answers else {},
    )
