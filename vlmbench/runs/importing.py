"""Another harness's run as a run folder of ours: its answers, our scores, its own beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vlmbench import __version__
from vlmbench.data.predictions import read
from vlmbench.data.predictions.harness_runs import PROFILES, HarnessRun, HarnessTask
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder import layout, provenance
from vlmbench.runs.folder.manifest import SCHEMA_VERSION, write_manifest
from vlmbench.runs.folder.responses import UNKNOWN, Log
from vlmbench.runs.folder.scores import ScoresFile
from vlmbench.runs.scoring import TaskResult
from vlmbench.schema import Json, Prediction, Profile, Sample
from vlmbench.task.binding import Asking
from vlmbench.task.loading import parse_spec
from vlmbench.task.matching import Matched
from vlmbench.task.scoring import Score, Tally, score

THEIRS = "harness_value"
"""Key of a scores file's line: the credit that the harness gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A sample that the harness and our official rules score differently."""

    task: str
    id: str
    theirs: float
    official: float
    by_profile: float | None
    """By our profile of that harness; None: the task has none."""

    response: str
    parsed: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTask:
    """A task of an imported run with both scores."""

    result: TaskResult
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
    """From harness, model and date; numbered where another run has the name."""
    text = "-".join(filter(None, (run.harness, run.model, run.date)))
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in text).strip("-")[:100]
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
) -> Imported:
    """Score the logged samples of a run, and write them as the run folder `folder`.

    A task whose samples cannot be read or found in the data set is left out, with the reason.

    Raises: VlmbenchError where the folder has a run already, or no task can be taken.
    """
    if (folder / layout.MANIFEST).exists():
        raise VlmbenchError(f"{folder} holds a run already; remove it, or name another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VlmbenchError(f"cannot write a run to {folder}: {error.strerror}") from None
    tasks, problems = [], []
    data: dict[str, dict[str, Json]] = {}
    log = Log(folder, "0")
    try:
        for found in run.tasks:
            try:
                imported = _Task(run, found, folder, log, data_dir, tasks_dir).imported()
            except VlmbenchError as error:
                problems.append(f"{found.name}: {error}")
                continue
            tasks.append(imported)
            task, split, _ = parse_spec(found.spec, tasks_dir)
            data[found.spec] = {
                "version": task.version,
                "source": str(found.predictions),
                "revision": "",
                "fingerprint": "",
                "num_rows": split.size or imported.result.num_selected,
            }
    finally:
        log.close()
    if not tasks:
        (folder / "responses-0.jsonl").unlink()
        with suppress(OSError):  # it held something else before
            folder.rmdir()
        raise VlmbenchError(f"nothing of {run.folder} can be imported: {'; '.join(problems)}")
    manifest = _manifest(run, tasks, data, command)
    write_manifest(folder, manifest)
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
    ) -> None:
        self._found, self._folder, self._log = found, folder, log
        self._profile = PROFILES[run.harness]
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
        path = self._folder / f"scores-{self._found.spec}.jsonl"
        with ScoresFile(path) as file:
            for scored in score(self._task, self._pairs(answers)):
                tally.add(scored)
                file.add(self._record(scored, answers))
        result = TaskResult(
            name=self._found.spec,
            version=self._task.version,
            metric=self._task.metric,
            num_selected=tally.num_rows,
            num_failed=tally.failed,
            num_missing=0,
            summaries={profile: tally.summary(profile) for profile in self._task.profiles},
            scores=path,
        )
        return ImportedTask(
            result=result,
            found=self._found,
            profile=self._profile,
            num_compared=len(self._theirs),
            disagreements=tuple(self._disagreements),
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
            self._log.append(_logged(self._found.spec, id, prediction))
            yield sample, replace(prediction, id=id)

    def _record(self, scored: Score, answers: dict[str, str]) -> dict[str, Json]:
        record, id = scored.record("official"), str(scored.id)
        response = answers.pop(id)
        value, theirs = scored.value("official"), self._theirs.get(id)
        record[THEIRS] = theirs
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
        return record


def _logged(task: str, id: str, prediction: Prediction) -> dict[str, Json]:
    """A line of a run's log; what the harness did not measure is unknown."""
    return {
        "task": task,
        "id": id,
        "response": prediction.response,
        **UNKNOWN,
        **({"finish_reason": "error"} if prediction.response is None else {}),
        "error": prediction.error,
        "worker": "0",
    }


def _manifest(
    run: HarnessRun,
    tasks: Sequence[ImportedTask],
    data: dict[str, dict[str, Json]],
    command: Sequence[str],
) -> dict[str, Any]:
    """As a run writes it, but of another's run: packages, hardware and times are not known."""
    asked = Asking(
        style=run.harness,
        shots=tasks[0].found.shots,
        ocr=any(task.found.has_ocr for task in tasks),
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "vlmbench": __version__,
        "command": list(command),
        "packages": {},
        "hardware": {},
        "model": {"spec": f"{run.harness}:{run.model}"},
        "generation": {},
        "prompt": asdict(asked),
        "data": data,
        "status": "complete",
        "started": None,
        "finished": None,
        "tasks": {task.result.name: task.result.as_manifest() for task in tasks},
        "imported": {
            "harness": run.harness,
            "version": run.version or None,
            "date": run.date or None,
            "folder": str(run.folder),
            "imported": provenance.now(),
            "settings": run.settings,
            "tasks": {task.result.name: _origin(task) for task in tasks},
        },
    }


def _origin(task: ImportedTask) -> dict[str, Json]:
    found = task.found
    return {
        "name": found.name,
        "file": found.predictions.name,
        "metric": found.metric or None,
        "reported": found.reported,
        "official": task.score("official"),
        "profile": task.profile,
        "by_profile": task.score(task.profile),
        "num_compared": task.num_compared,
        "num_different": len(task.disagreements),
        "settings": found.settings,
    }
