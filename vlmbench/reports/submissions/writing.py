"""From a run's folder to the file that a benchmark's own server takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from vlmbench.data.predictions import Submission
from vlmbench.data.splits import Split, load
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.files import OutputFile
from vlmbench.reports.submissions import lists, mathvista, mmbench, mmmu
from vlmbench.reports.submissions.answers import Answer, complete
from vlmbench.reports.submissions.content import Content
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.task.loading import every, parse_spec
from vlmbench.task.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A submission on disk."""

    paths: tuple[Path, ...]
    """The file for the server first."""

    name: str
    """`TASK@SPLIT`."""

    num_entries: int
    notes: Sequence[str]


def servers() -> dict[str, Task]:
    """The tasks that have a server of their own, by the server's name.

    Raises: VlmbenchError where two tasks name the same one.
    """
    found: dict[str, Task] = {}
    for task in every():
        if submission := task.conventions.submission:
            if other := found.get(submission.server):
                raise VlmbenchError(f"{other.name} and {task.name} share {submission.server!r}")
            found[submission.server] = task
    return found


def submit(
    run: FinishedRun,
    to: str,
    *,
    out: Path | None = None,
    split: str | None = None,
    data_dir: Path | None = None,
    rehearsal: bool = False,
) -> Written:
    """Write the file that the server named `to` takes; by default into the run's folder.

    `split`: which one, where the run has several that fit. `rehearsal`: also take other splits and
    partial copies of the data set, for a file to score at home.

    Raises: VlmbenchError where the run does not fit the server, lacks answers, or `out` is no file.
    """
    known = servers()
    if to not in known:
        raise no_such("server", to, known)
    if run.is_control and not rehearsal:
        raise VlmbenchError(f"{run.folder} is a control: it showed other pictures, or none")
    name, submission = known[to].name, known[to].conventions.submission
    assert submission is not None
    found = _fitting(run, name, submission, split, rehearsal)
    task, of_split, _ = parse_spec(found.name)
    answers = complete(run, found, task, of_split, data_dir)
    others: list[str] = []
    if not rehearsal:
        _check_size(to, found.name, of_split, len(answers))
        others = _others(submission, task, of_split, answers, data_dir)
    content = _content(submission, task, answers, others)
    path = out or run.folder / f"{to}-{found.split}{content.suffix}"
    paths = [_write(path, content.main)]
    if content.scores is not None:
        paths.append(_write(path.with_name(f"scores_{path.name}"), content.scores))
    return Written(
        paths=tuple(paths), name=found.name, num_entries=content.num_entries, notes=content.notes
    )


def _content(
    submission: Submission, task: Task, answers: Sequence[Answer], others: Sequence[str]
) -> Content:
    """The submission in its format. `others`: ids that the server wants though not asked."""
    match submission.format:
        case "answers":
            return lists.answers(task.conventions.ids[0], answers, others)
        case "letters by id":
            return mmmu.by_id(answers)
        case "problems by id":
            return mathvista.by_pid(answers)
        case "sheet":
            return mmbench.sheet(answers)
        case _:
            assert_never(submission.format)


def _fitting(
    run: FinishedRun, name: str, submission: Submission, split: str | None, rehearsal: bool
) -> FinishedTask:
    to = submission.server
    takes = " or ".join(f"{name}@{split}" for split in submission.splits)
    has = ", ".join(task.name for task in run.tasks)
    own = [task for task in run.tasks if task.task == name and split in (None, task.split)]
    if own and all(task.is_mini for task in own):
        raise VlmbenchError(
            f"{run.folder} has {own[0].name}, a stand-in that no server takes; {to} takes {takes}"
        )
    fitting = [
        task for task in own if not task.is_mini and (rehearsal or task.split in submission.splits)
    ]
    if not fitting:
        asked = f"@{split}" if split else ""
        hint = "; for a file to score here, add --rehearsal" if own else ""
        raise VlmbenchError(
            f"{to} takes {takes}, and {run.folder} has {has}{asked and ', no ' + asked}{hint}"
        )
    if len(fitting) > 1:
        names = ", ".join(task.split for task in fitting)
        raise VlmbenchError(
            f"{run.folder} has several splits that {to} takes; name one with --split: {names}"
        )
    return fitting[0]


def _check_size(to: str, name: str, split: Split, num_rows: int) -> None:
    if split.size not in (None, num_rows):
        raise VlmbenchError(
            f"{to} wants all {split.size:,} samples of {name}, and this copy of the data set has "
            f"{num_rows:,}; run on a whole one, or for a file to score here add --rehearsal"
        )


def _others(
    submission: Submission,
    task: Task,
    split: Split,
    answers: Sequence[Answer],
    data_dir: Path | None,
) -> list[str]:
    """Ids of the larger split that the server wants in the file, answered or not."""
    if split.name not in submission.whole:
        return []
    whole = task.split(submission.whole[split.name])
    rows = load(task.name, whole, data_dir, needs_pictures=False)
    answered = {answer.sample.id for answer in answers}
    ids = [task.read(row).id for row in rows]
    if stray := answered - set(ids):
        raise VlmbenchError(
            f"{len(stray):,} samples of {task.name}@{split.name} are not in "
            f"{task.name}@{whole.name} of {rows.source}, of which it is a part"
        )
    _check_size(submission.server, f"{task.name}@{whole.name}", whole, len(ids))
    return [id for id in ids if id not in answered]


def _write(path: Path, content: bytes) -> Path:
    with OutputFile(path) as output:
        output.write(content)
    return path
