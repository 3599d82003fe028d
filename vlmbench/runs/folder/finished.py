"""A finished run as its folder tells it: no data set, no model, no task file.

What everybody downstream (board, comparison, plots, viewer, submissions) reads a run through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import UNSET

from vlmbench.errors import VlmbenchError, no_such
from vlmbench.runs.folder import cost_sums, layout
from vlmbench.runs.folder.costs import Costs
from vlmbench.runs.folder.manifest import (
    DataRecord,
    Manifest,
    TaskRecord,
    damaged,
    read_manifest,
)
from vlmbench.runs.folder.responses import ResponseRecord, Responses
from vlmbench.runs.folder.scores import VERSION, ScoreRecord, natural, read_scores, score_of
from vlmbench.schema import Profile
from vlmbench.task.answer_marks import AnswerMarks
from vlmbench.task.binding import PromptSettings
from vlmbench.task.loading import LMMS
from vlmbench.task.reading import Reading
from vlmbench.task.scoring import Summary, Tally
from vlmbench.task.styles import versioned

CLOSED = ("complete", "stopped")
"""States in which a run has been scored as far as it went."""

AGAIN = "the command that made it goes on where it was: it asks nothing twice"
IMPORT_AGAIN = "remove the folder and import the run again"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTask:
    """One task of a run. `scores` and `responses` read the files anew each time, a line at once."""

    folder: Path
    """The run's."""

    name: str
    """`TASK@SPLIT`, such as "docvqa@mini"."""

    record: TaskRecord
    data: DataRecord
    prompt: PromptSettings
    """How its samples were asked."""

    summaries: Mapping[Profile, Summary]
    """Empty where the split's answers are not public."""

    usd_per_hour: float | None = None
    """Price of one device; None: the run was not told."""

    @property
    def costs(self) -> Costs:
        """What it cost, by scenario; computed from the run's files, which it reads all."""
        return cost_sums.of_task(self.folder, self.name, self.usd_per_hour)

    problems: tuple[str, ...] = ()
    """Why answers have no score, a line each; of a run that was just scored."""

    @property
    def metric(self) -> str:
        return self.record.metric

    @property
    def version(self) -> int:
        """The task's, which rises with any change that can move a score."""
        return self.data.version

    @property
    def num_selected(self) -> int:
        return self.record.num_selected

    @property
    def num_missing(self) -> int:
        """Samples that were selected and not run, as the run was stopped."""
        return self.record.num_missing

    @property
    def num_failed(self) -> int:
        """Samples with an error instead of a response."""
        return self.record.num_failed

    @property
    def num_rows(self) -> int:
        """Samples of the whole split."""
        return self.data.num_rows

    @property
    def figures(self) -> Mapping[str, float]:
        """The source harness's own aggregate metrics, for a task of another harness; else none."""
        return {} if self.record.figures is UNSET else self.record.figures

    @property
    def reading(self) -> Reading:
        """How its responses were read before they were scored."""
        return Reading() if self.record.reading is UNSET else self.record.reading

    @property
    def marks(self) -> AnswerMarks | None:
        """What its responses are like, where more than a few are no plain answers."""
        return None if self.record.answer_marks is UNSET else self.record.answer_marks

    def remark(self, profile: Profile) -> str:
        """What of its responses the reader of a score must know; empty: nothing."""
        return self.marks.text(profile, self.reading.final_answer) if self.marks else ""

    @property
    def prompt_style(self) -> str:
        """The prompt style with its version, if that is not 1; "lmms-eval" where that words it."""
        own = versioned(self.prompt.style, self.prompt.style_version)
        return "lmms-eval" if self.name.startswith(LMMS) else own

    @property
    def is_mini(self) -> bool:
        """True for an embedded stand-in, whose scores say nothing of the real benchmark."""
        return self.name.endswith("@mini") or self.data.source.startswith("vlmbench.mini.")

    @property
    def task(self) -> str:
        return self.name.partition("@")[0]

    @property
    def split(self) -> str:
        return self.name.partition("@")[2]

    @property
    def scores_file(self) -> Path | None:
        """A line for each scored sample; None where the split's answers are not public."""
        return layout.scores_file(self.folder, self.name) if self.summaries else None

    def scores(self) -> Iterator[ScoreRecord]:
        """The scored samples in the order of their ids; none where answers are not public."""
        if self.scores_file is not None:
            yield from read_scores(self.scores_file)

    def responses(self) -> Iterator[ResponseRecord]:
        """What counts of the log, a record a sample; in step with `scores`, where there are any.

        Raises: VlmbenchError where a scored sample has no response.
        """
        log = Responses(self.folder)
        try:
            every = sorted(log.ids(self.name), key=natural)
            ids = (str(score.id) for score in self.scores()) if self.summaries else every
            for id in ids:
                record = log.get(self.name, id)
                if record is None:
                    raise VlmbenchError(
                        f"{self.folder}: {self.name} has a score for sample {id!r} and no response;"
                        " the folder is not whole; the run's own command asks and scores it again"
                    )
                yield record
        finally:
            log.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run's manifest and its scored tasks."""

    folder: Path
    manifest: Manifest
    tasks: tuple[FinishedTask, ...]
    problems: tuple[str, ...] = ()
    """Why samples are missing, a line each; of a run that was read from its folder, none."""

    is_left_to_others: bool = False
    """True for a rank of a launcher's that ended before the others: the last one reports."""

    @property
    def costs(self) -> Costs:
        """What the run cost as a whole, all its tasks together; it has no single stream."""
        return cost_sums.of_run(self.folder, self.usd_per_hour)

    @property
    def usd_per_hour(self) -> float | None:
        """Price of one device; None: the run was not told."""
        given = self.manifest.usd_per_hour
        return None if given is UNSET else given

    @property
    def model(self) -> str:
        """Model as named to the run: "idefics2:tiny"."""
        return str(self.manifest.model["spec"])

    @property
    def title(self) -> str:
        """The model and what sets this run apart from its usual use, for a table or a legend."""
        prompt, splits = self.manifest.prompt, self.manifest.model.get("split_images")
        parts = [self.model]
        if splits is not None:
            parts.append("split" if splits else "no split")
        if self.manifest.generation.get("temperature"):
            parts.append(f"temperature {self.manifest.generation['temperature']}")
        parts += _turned(self.manifest.model)
        if prompt.max_new_tokens is not None:
            parts.append(f"at most {prompt.max_new_tokens} new tokens")
        parts += ["no pictures"] if prompt.blind else []
        parts += [f"{prompt.pictures} pictures"] if prompt.pictures != "own" else []
        parts += ["OCR tokens given"] if prompt.ocr else []
        return ", ".join(parts)

    @property
    def is_control(self) -> bool:
        """True if run without the samples' own pictures."""
        return self.manifest.prompt.blind or self.manifest.prompt.pictures != "own"

    @property
    def is_complete(self) -> bool:
        """True if every selected sample was run."""
        return self.manifest.status == "complete"

    @property
    def num_failed(self) -> int:
        return sum(task.num_failed for task in self.tasks)

    @property
    def num_missing(self) -> int:
        return sum(task.num_missing for task in self.tasks)

    def task(self, name: str) -> FinishedTask | None:
        """The task of that `TASK@SPLIT`; None: the run does not have it."""
        return next((task for task in self.tasks if task.name == name), None)

    def only(self, names: Sequence[str]) -> FinishedRun:
        """The run with these tasks alone, each `TASK` or `TASK@SPLIT`; without names, all of it.

        Raises: VlmbenchError for one that the run does not have.
        """
        known = [task.name for task in self.tasks]
        for name in names:
            if name not in known and name not in (task.task for task in self.tasks):
                raise no_such("task", name, known, f"in {self.folder}")
        kept = [task for task in self.tasks if not names or {task.name, task.task} & {*names}]
        return replace(self, tasks=tuple(kept))


def _turned(model: Mapping[str, Any]) -> Iterator[str]:
    """Settings of a model that set a run apart from its usual use."""
    if model.get("max_side") is not None:
        yield f"sides up to {model['max_side']}"
    if model.get("keep_visual_tokens") is not None:
        yield f"{100 * model['keep_visual_tokens']:g} % of visual tokens, at random"
    for name, value in (model.get("processor_arg") or {}).items():
        yield f"{name} {value}"
    if model.get("dtype") not in (None, "auto"):
        yield str(model["dtype"])
    if model.get("deterministic"):
        yield "deterministic"


def open_run(folder: Path) -> FinishedRun:
    """Read a run's manifest and sum its scores up.

    Raises: VlmbenchError where the folder holds no run, one that is still at work or was killed,
    or one whose files are damaged or of another version.
    """
    manifest = read_manifest(folder)
    if manifest.status not in CLOSED:
        raise VlmbenchError(
            f"the run in {folder} has not ended (status {manifest.status!r}); {AGAIN}"
        )
    if not manifest.tasks:
        raise VlmbenchError(f"the run in {folder} is of an earlier vlmbench; {AGAIN}")
    if "spec" not in manifest.model:
        raise damaged(folder, "it names no model")
    tasks = tuple(_task(folder, manifest, name) for name in manifest.tasks)
    return FinishedRun(folder=folder, manifest=manifest, tasks=tasks)


def _task(folder: Path, manifest: Manifest, name: str) -> FinishedTask:
    record = manifest.tasks[name]
    if name not in manifest.data:
        raise damaged(folder, f"{name} has scores and no data")
    if record.scores_version not in (None, VERSION):
        raise VlmbenchError(
            f"{folder}: the scores of {name} have version {record.scores_version}, this vlmbench "
            f"reads {VERSION}; the command that made them writes them anew"
        )
    if record.profiles and "official" not in record.profiles:
        raise damaged(folder, f"{name} has no official scores")
    way_out = AGAIN if manifest.imported is UNSET else IMPORT_AGAIN
    num_scored = record.num_selected - record.num_missing
    path = layout.scores_file(folder, name)
    return FinishedTask(
        folder=folder,
        name=name,
        record=record,
        data=manifest.data[name],
        prompt=manifest.prompt,
        usd_per_hour=None if manifest.usd_per_hour is UNSET else manifest.usd_per_hour,
        summaries=_summaries(path, record.profiles, num_scored, way_out),
    )


def _summaries(
    path: Path, profiles: Iterable[Profile], num_scored: int, way_out: str
) -> dict[Profile, Summary]:
    """Raises: VlmbenchError where the file does not hold that many scores, one a sample."""
    if not profiles:
        return {}
    tally, ids = Tally(profiles), set()
    what = ""
    try:
        for record in read_scores(path):
            tally.add(score_of(record, profiles))
            ids.add(record.id)
    except ValueError as error:
        what = str(error)
    if not what and not len(ids) == tally.num_rows == num_scored:
        what = f"{tally.num_rows:,} lines of {len(ids):,} samples, the run has {num_scored:,}"
    if what:
        raise VlmbenchError(f"{path} is damaged ({what}); {way_out}")
    return {profile: tally.summary(profile) for profile in profiles}
