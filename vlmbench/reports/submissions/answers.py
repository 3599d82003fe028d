"""A run's answers to a whole split, in the split's order; an error where any is missing."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from vlmbench.data import splits
from vlmbench.data.rows import Row
from vlmbench.data.splits import Split
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.runs.folder.responses import Responses
from vlmbench.schema import Prediction, Sample, Verdict
from vlmbench.task.task import Task

HIDDEN = ("A",)
"""Stands for the gold answer where that is not public: what is parsed does not depend on it."""

SELECTING = ("--limit", "--ids", "--where", "--out")
RESTARTING = ("--fresh", "--resume", "--dry-run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A sample with the run's response."""

    task: Task
    row: Row
    sample: Sample
    response: str

    def verdict(self) -> Verdict:
        """The official verdict; `value` is void where the gold answer is not public."""
        sample = replace(self.sample, answers=self.sample.answers or HIDDEN)
        prediction = Prediction(id=sample.id, response=self.response)
        return self.task.score(sample, prediction, "official")


def complete(
    run: FinishedRun, of: FinishedTask, task: Task, split: Split, data_dir: Path | None
) -> list[Answer]:
    """An answer for every row of the split.

    Raises: VlmbenchError where the run lacks any (with the command that asks for the rest), or has
    samples that this copy of the split has not.
    """
    rows = splits.load(task.name, split, data_dir, needs_pictures=False)
    log = Responses(run.folder)
    answers: list[Answer] = []
    seen: set[str] = set()
    num_failed = 0
    try:
        for row in rows:
            sample = task.read(row)
            if sample.id in seen:
                raise VlmbenchError(f"{row.where}: {sample.id!r} stands twice in {of.name}")
            seen.add(sample.id)
            record = log.get(of.name, sample.id)
            if record is None:
                continue
            if record.response is None:
                num_failed += 1
            else:
                answers.append(Answer(task=task, row=row, sample=sample, response=record.response))
        strange = [id for id in log.ids(of.name) if id not in seen]
    finally:
        log.close()
    if strange:
        raise VlmbenchError(
            f"{run.folder} has {len(strange):,} samples of {of.name} that {rows.source} has not "
            f"({', '.join(strange[:3])}{', ...' if len(strange) > 3 else ''}); name the copy of "
            "the data set that was run with --data-dir"
        )
    if len(answers) < len(rows):
        num_missing = len(rows) - len(answers) - num_failed
        raise VlmbenchError(
            f"{run.folder} answers {len(answers):,} of the {len(rows):,} samples of {of.name} "
            f"({num_missing:,} not run, {num_failed:,} failed), and the server wants all; "
            f"to finish: {_finishing(run, of)}"
        )
    return answers


def _finishing(run: FinishedRun, of: FinishedTask) -> str:
    """The command that asks for the rest of the split, in the same folder."""
    command = run.manifest.command
    if list(command[1:2]) != ["run"]:  # the run was started from Python
        return f'vlmbench.evaluate({run.model!r}, {of.name!r}, out="{run.folder}", ...) as before'
    kept: list[str] = []
    is_value = False
    for word in command:
        flag = word.partition("=")[0]
        if is_value or flag in (*SELECTING, *RESTARTING):
            is_value = not is_value and word in SELECTING
            continue
        kept.append(word)
    return shlex.join([*kept, "--out", str(run.folder)])
