"""The servers, what each takes, and the way from a run's folder to a file for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlmbench.data.splits import Split, load
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.files import OutputFile
from vlmbench.reports.submissions import lists, mathvista, mmbench, mmmu
from vlmbench.reports.submissions.answers import Answer, complete
from vlmbench.reports.submissions.content import Content
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.task.loading import parse_spec
from vlmbench.task.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Who takes a benchmark's answers, and in what form."""

    task: str
    splits: tuple[str, ...]
    suffix: str
    content: Callable[[Sequence[Answer], Sequence[str]], Content]
    goes_to: str
    """Where the file is handed in, and how that stood when it was last looked up."""

    whole: Mapping[str, str] = field(default_factory=dict)
    """Split to the larger one whose ids the file must all hold."""


SERVERS: Mapping[str, Server] = {
    "vqav2-evalai": Server(
        task="vqav2",
        splits=("test-std", "test-dev"),
        suffix=".json",
        content=lists.vqa,
        goes_to="EvalAI, challenge 830 (unreliable since 2025)",
        whole={"test-dev": "test-std"},
    ),
    "textvqa-evalai": Server(
        task="textvqa",
        splits=("test", "validation"),
        suffix=".json",
        content=lists.vqa,
        goes_to="EvalAI, challenge 551 (its phases are over)",
    ),
    "docvqa-rrc": Server(
        task="docvqa",
        splits=("test",),
        suffix=".json",
        content=lists.docvqa,
        goes_to="rrc.cvc.uab.es, challenge 17, task 1",
    ),
    "mmmu-evalai": Server(
        task="mmmu",
        splits=("test", "validation"),
        suffix=".json",
        content=mmmu.by_id,
        goes_to="EvalAI, challenge 2179 (silent since January 2026; the answers are public)",
    ),
    "mathvista": Server(
        task="mathvista",
        splits=("testmini", "test"),
        suffix=".json",
        content=mathvista.by_pid,
        goes_to="the authors, by e-mail (lupantech@gmail.com)",
    ),
    "mmbench": Server(
        task="mmbench",
        splits=(
            *("test-en", "dev-en", "dev-cn", "test-en-v1.1", "dev-en-v1.1"),
            "dev-en-20230712",
        ),
        suffix=".xlsx",
        content=mmbench.sheet,
        goes_to="mmbench.opencompass.org.cn (closed in April 2026)",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A submission on disk."""

    paths: tuple[Path, ...]
    """The file for the server first."""

    name: str
    """`TASK@SPLIT`."""

    num_entries: int
    notes: Sequence[str]


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
    if to not in SERVERS:
        raise no_such("server", to, SERVERS)
    if run.is_control and not rehearsal:
        raise VlmbenchError(f"{run.folder} is a control: it showed other pictures, or none")
    server = SERVERS[to]
    found = _fitting(run, to, server, split, rehearsal)
    task, of_split, _ = parse_spec(found.name)
    answers = complete(run, found, task, of_split, data_dir)
    others: list[str] = []
    if not rehearsal:
        _check_size(to, found.name, of_split, len(answers))
        others = _others(to, server, task, of_split, answers, data_dir)
    content = server.content(answers, others)
    path = out or run.folder / f"{to}-{found.split}{server.suffix}"
    paths = [_write(path, content.main)]
    if content.scores is not None:
        paths.append(_write(path.with_name(f"scores_{path.name}"), content.scores))
    return Written(
        paths=tuple(paths), name=found.name, num_entries=content.num_entries, notes=content.notes
    )


def _fitting(
    run: FinishedRun, to: str, server: Server, split: str | None, rehearsal: bool
) -> FinishedTask:
    takes = " or ".join(f"{server.task}@{name}" for name in server.splits)
    has = ", ".join(task.name for task in run.tasks)
    own = [task for task in run.tasks if task.task == server.task and split in (None, task.split)]
    if own and all(task.is_mini for task in own):
        raise VlmbenchError(
            f"{run.folder} has {own[0].name}, a stand-in that no server takes; {to} takes {takes}"
        )
    fitting = [
        task for task in own if not task.is_mini and (rehearsal or task.split in server.splits)
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
    to: str,
    server: Server,
    task: Task,
    split: Split,
    answers: Sequence[Answer],
    data_dir: Path | None,
) -> list[str]:
    """Ids of the larger split that the server wants in the file, answered or not."""
    if split.name not in server.whole:
        return []
    whole = task.split(server.whole[split.name])
    rows = load(task.name, whole, data_dir, needs_pictures=False)
    answered = {answer.sample.id for answer in answers}
    ids = [task.read(row).id for row in rows]
    if stray := answered - set(ids):
        raise VlmbenchError(
            f"{len(stray):,} samples of {task.name}@{split.name} are not in "
            f"{task.name}@{whole.name} of {rows.source}, of which it is a part"
        )
    _check_size(to, f"{task.name}@{whole.name}", whole, len(ids))
    return [id for id in ids if id not in answered]


def _write(path: Path, content: bytes) -> Path:
    with OutputFile(path) as output:
        output.write(content)
    return path
