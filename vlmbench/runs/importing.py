"""Another harness's run as a run folder of ours: its answers, our scores, its own beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import UNSET

from vlmbench import __version__, files
from vlmbench.data.predictions import read
from vlmbench.data.predictions.harness_runs import PROFILES, HarnessRun, HarnessTask
from vlmbench.errors import VlmbenchError
from vlmbench.files import slug, writing
from vlmbench.runs.folder import layout, manifest, provenance
from vlmbench.runs.folder.finished import FinishedTask
from vlmbench.runs.folder.manifest import (
    DataRecord,
    Import,
    Manifest,
    TaskRecord,
    write_manifest,
)
from vlmbench.runs.folder.responses import Log, ResponseRecord
from vlmbench.runs.folder.scores import VERSION, ScoreRecord, ScoresFile, record_of
from vlmbench.runs.opening import refuse_strangers
from vlmbench.schema import FOLLOWS, Json, Prediction, Profile, Sample
from vlmbench.task.binding import PromptSettings
from vlmbench.task.loading import parse_spec
from vlmbench.task.matching import Matched
from vlmbench.task.reading import Reading
from vlmbench.task.scoring import Score, Tally, score

AS_THEY_ARE = Reading()

WORKER = "0"
"""Whose log has the answers of an imported run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A sample that the harness and our official rules score differently."""

    task: str
    id: str
    theirs: float
    official: float
    by_profile: float | None
    """Score by our harness profile; None: the task has none."""

    response: str
    parsed: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTask:
    """A task of an imported run with both scores."""

    result: FinishedTask
    found: HarnessTask
    profile: Profile
    num_compared: int
    """Samples whose value the harness logged."""

    disagreements: tuple[Disagreement, ...]

    def score(self, profile: Profile) -> float | None:
        """Ours in percent; None: the task lacks the profile, or nothing was answered."""
        summary = self.result.summaries.get(profile)
        return 100 * summary.estimate.mean if summary and summary.estimate else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A run of another harness that now is a run folder."""

    run: HarnessRun
    folder: Path
    tasks: tuple[ImportedTask, ...]
    problems: tuple[str, ...]
    """Why tasks of it were left out, a line each."""


def other_version(run: HarnessRun) -> str:
    """What to say where the run is of another version than our profile follows; else empty."""
    profile = PROFILES[run.harness]
    follows = FOLLOWS[profile]
    if not run.version or run.version in follows.split():
        return ""
    return (
        f"the profile {profile!r} follows {follows}, not {run.harness} {run.version}: its scores "
        "may differ"
    )


def separated(run: HarnessRun) -> list[HarnessRun]:
    """Runs in which no split occurs twice: a harness may have asked one in several ways."""
    parts: list[list[HarnessTask]] = []
    for task in run.tasks:
        part = next((p for p in parts if all(t.spec != task.spec for t in p)), None)
        if part is None:
            parts.append([task])
        else:
            part.append(task)
    return [replace(run, tasks=tuple(part)) for part in parts]


def folder_name(run: HarnessRun, taken: Sequence[str]) -> str:
    """Folder name from harness, model and date; numbered where it is taken."""
    text = "-".join(filter(None, (run.harness, run.model, run.date)))
    name = slug(text)
    number = next(n for n in range(1, len(taken) + 2) if _numbered(name, n) not in taken)
    return _numbered(name, number)


def _numbered(name: str, number: int) -> str:
    return f"{name}-{number}" if number > 1 else name


def import_run(
    run: HarnessRun,
    folder: Path,
    *,
    data_dir: Path | None = None,
    tasks_dir: Path | None = None,
    command: Sequence[str] = (),
    reading: Reading = AS_THEY_ARE,
) -> Imported:
    """Score the logged samples of a run, and write them as the run folder `folder`.

    A task whose samples cannot be read or found in the data set is left out, with the reason.

    Raises: VlmbenchError where the folder has a run already, or no task can be taken.
    """
    if (folder / layout.MANIFEST).exists():
        raise VlmbenchError(f"{folder} holds a run already; remove it, or name another --out")
    refuse_strangers(folder)
    if layout.responses_files(folder):
        raise VlmbenchError(f"{folder} holds answers already; name another --out")
    with writing(folder, "a run"):
        folder.mkdir(parents=True, exist_ok=True)
        log = Log(folder, WORKER)
    tasks, problems = [], []
    try:
        for found in run.tasks:
            try:
                task = _Task(run, found, folder, log, data_dir, tasks_dir, reading)
                imported = task.imported()
            except VlmbenchError as error:
                problems.append(f"{found.name}: {error}")
                continue
            tasks.append(imported)
    finally:
        log.close()
    if not tasks:
        layout.responses_file(folder, WORKER).unlink()
        with suppress(OSError):  # it held something else before
            folder.rmdir()
        raise VlmbenchError(f"nothing of {run.folder} can be imported: {'; '.join(problems)}")
    write_manifest(folder, _manifest(run, tasks, command))
    return Imported(run=run, folder=folder, tasks=tuple(tasks), problems=tuple(problems))


class _Task:
    """One task on its way from the harness's file to ours."""

    def __init__(
        self,
        run: HarnessRun,
        found: HarnessTask,
        folder: Path,
        log: Log,
        data_dir: Path | None,
        tasks_dir: Path | None,
        reading: Reading,
    ) -> None:
        self._run, self._found, self._folder, self._log = run, found, folder, log
        self._reading = reading
        self._profile = PROFILES.get(run.harness, "official")
        self._task, self._split, _ = parse_spec(found.spec, tasks_dir)
        self._matched = Matched(
            self._task, self._split, found.predictions, data_dir, allow_missing=True
        )
        is_numbered = read(found.predictions, self._task.conventions).by_row_number
        self._has_row_numbers = is_numbered and self._matched.has_samples
        self._theirs: dict[str, float] = {}
        self._disagreements: list[Disagreement] = []

    def imported(self) -> ImportedTask:
        tally = Tally(self._task.profiles)
        answers: dict[str, str] = {}
        with ScoresFile(layout.scores_file(self._folder, self._found.spec)) as file:
            for scored in score(
                self._task, self._pairs(answers), self._reading, self._matched.group_sizes
            ):
                tally.add(scored)
                file.add(self._record(scored, answers))
            if tally.num_partial_groups:
                raise VlmbenchError(
                    f"{tally.num_partial_groups:,} questions of {self._found.predictions} lack "
                    "rotations of their options, so that no circular accuracy can be computed; "
                    "`vlmbench score --vanilla` gives the accuracy of its rows"
                )
        return ImportedTask(
            result=self._result(tally),
            found=self._found,
            profile=self._profile,
            num_compared=len(self._theirs),
            disagreements=tuple(self._disagreements),
        )

    def _result(self, tally: Tally) -> FinishedTask:
        profiles, marks = self._task.profiles, tally.answer_marks()
        return FinishedTask(
            folder=self._folder,
            name=self._found.spec,
            record=TaskRecord(
                metric=self._task.metric,
                num_selected=tally.num_rows,
                num_missing=0,
                num_failed=tally.failed,
                profiles=profiles,
                scores_version=VERSION,
                reading=UNSET if self._reading.is_default else self._reading,
                answer_marks=marks if marks.is_notable else UNSET,
            ),
            data=DataRecord(
                version=self._task.version,
                source=str(self._found.predictions),
                revision="",
                fingerprint="",
                num_rows=self._split.size or tally.num_rows,
            ),
            prompt=_asked(self._run, self._found),
            summaries={profile: tally.summary(profile) for profile in profiles},
        )

    def _pairs(self, answers: dict[str, str]) -> Iterator[tuple[Sample, Prediction]]:
        """Logged as they pass. An id is the sample's, or says that it is a row's number."""
        for sample, prediction in self._matched.pairs():
            if not sample.id.startswith(self._found.id_prefix):
                continue
            id = f"row-{sample.id}" if self._has_row_numbers else sample.id
            given = prediction.id
            key = str(int(given) if isinstance(given, float) else given)
            if key in self._found.values:
                self._theirs[id] = self._found.values[key]
            answers[id] = prediction.response or ""
            self._log.write(_logged(self._found.spec, id, prediction))
            yield sample, replace(prediction, id=id)

    def _record(self, scored: Score, answers: dict[str, str]) -> ScoreRecord:
        id = str(scored.id)
        response = answers.pop(id)
        value, theirs = scored.value("official"), self._theirs.get(id)
        if theirs is not None and value is not None and abs(theirs - value) > 1e-6:
            profiles = self._task.profiles
            self._disagreements.append(
                Disagreement(
                    task=self._found.spec,
                    id=id,
                    theirs=theirs,
                    official=value,
                    by_profile=scored.value(self._profile) if self._profile in profiles else None,
                    response=response,
                    parsed=scored.verdicts["official"].parsed,
                )
            )
        return record_of(scored, "official", harness_value=theirs)


def _logged(task: str, id: str, prediction: Prediction) -> bytes:
    """A line of a run's log; what the harness did not measure is unknown."""
    finish_reason = "unknown" if prediction.response is not None else "error"
    return files.encode(
        ResponseRecord(
            task=task,
            id=id,
            response=prediction.response,
            finish_reason=finish_reason,
            error=prediction.error,
            worker=WORKER,
        )
    )


def _asked(run: HarnessRun, found: HarnessTask) -> PromptSettings:
    return PromptSettings(style=run.harness, shots=found.shots, ocr=found.has_ocr)


def _manifest(run: HarnessRun, tasks: Sequence[ImportedTask], command: Sequence[str]) -> Manifest:
    """Manifest of another harness's run: packages, hardware and times are not known."""
    first, *rest = (task.result for task in tasks)
    has_ocr = any(task.prompt.ocr for task in (first, *rest))
    return Manifest(
        vlmbench=__version__,
        command=tuple(command),
        packages={},
        hardware={},
        model={"spec": f"{run.harness}:{run.model}"},
        generation={},
        prompt=replace(first.prompt, ocr=has_ocr),
        data={task.name: task.data for task in (first, *rest)},
        status="complete",
        started=None,
        finished=None,
        tasks={task.name: task.record for task in (first, *rest)},
        imported=Import(
            harness=run.harness,
            version=run.version or None,
            date=run.date or None,
            folder=str(run.folder),
            imported=provenance.now(),
            settings=run.settings,
            tasks={task.result.name: _origin(task) for task in tasks},
        ),
    )


def _origin(task: ImportedTask) -> manifest.ImportedTask:
    found = task.found
    return manifest.ImportedTask(
        name=found.name,
        file=found.predictions.name,
        metric=found.metric or None,
        reported=found.reported,
        official=task.score("official"),
        profile=task.profile,
        by_profile=task.score(task.profile),
        num_compared=task.num_compared,
        num_different=len(task.disagreements),
        settings=found.settings,
    )
