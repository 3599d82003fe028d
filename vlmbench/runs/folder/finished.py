"""A finished run as its folder tells it: no data set, no model, no task file.

What everybody downstream (board, comparison, plots, viewer, submissions) reads a run through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlmbench import files
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.runs.folder import scores
from vlmbench.runs.folder.manifest import damaged, read_manifest
from vlmbench.runs.folder.responses import Responses
from vlmbench.schema import Profile
from vlmbench.task.loading import LMMS
from vlmbench.task.scoring import Score, Summary, Tally

CLOSED = ("complete", "stopped")
"""States in which a run has been scored as far as it went."""

AGAIN = "the command that made it goes on where it was: it asks nothing twice"
IMPORT_AGAIN = "remove the folder and import the run again"
DAMAGE = (KeyError, TypeError, AttributeError, ValueError)
"""What reading a file that does not say what it should raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTask:
    """One task of a run. `scores` and `responses` read the files anew each time, a line at once."""

    folder: Path
    """The run's."""

    name: str
    """`TASK@SPLIT`, such as "docvqa@mini"."""

    version: int
    metric: str
    shots: int
    prompt_style: str
    is_blind: bool
    """True: no picture was shown, which is a control."""

    pictures: str
    """"own", or what was shown instead, as a control: see `shown_pictures`."""

    has_ocr: bool
    """True: the prompt held OCR tokens."""

    num_rows: int
    """Of the whole split."""

    num_selected: int
    num_missing: int
    """Selected and not run, as the run was stopped."""

    num_failed: int
    fingerprint: str
    """Equal where the rows were."""

    is_mini: bool
    """True for an embedded stand-in: its scores say nothing of the real benchmark."""

    summaries: Mapping[Profile, Summary]
    """Empty where the split's answers are not public."""

    @property
    def task(self) -> str:
        return self.name.partition("@")[0]

    @property
    def split(self) -> str:
        return self.name.partition("@")[2]

    def scores(self) -> Iterator[dict[str, Any]]:
        """A scored sample each, in the order of their ids: see `Score.record`.

        Nothing where the split's answers are not public.
        """
        if self.summaries:
            yield from _lines(self.folder / f"scores-{self.name}.jsonl")

    def responses(self) -> Iterator[dict[str, Any]]:
        """What counts of the log, a record a sample; in step with `scores`, where there are any.

        A record has `response` (None: failed), `error`, `finish_reason`, token counts, `timings`,
        and digests of pictures and prompt.
        """
        log = Responses(self.folder)
        try:
            every = sorted(log.ids(self.name), key=scores.natural)
            ids = (str(score["id"]) for score in self.scores()) if self.summaries else every
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
    manifest: Mapping[str, Any]
    tasks: tuple[FinishedTask, ...]

    @property
    def model(self) -> str:
        """As it was named to the run: "idefics2:tiny"."""
        spec: str = self.manifest["model"]["spec"]
        return spec

    @property
    def title(self) -> str:
        """The model and what sets this run apart from its usual use, for a table or a legend."""
        prompt, splits = self.manifest["prompt"], self.manifest["model"].get("split_images")
        parts = [self.model]
        if splits is not None:
            parts.append("split" if splits else "no split")
        if self.manifest["generation"].get("temperature"):
            parts.append(f"temperature {self.manifest['generation']['temperature']}")
        parts += ["no pictures"] if prompt["blind"] else []
        parts += [f"{prompt['pictures']} pictures"] if prompt["pictures"] != "own" else []
        parts += ["OCR tokens given"] if prompt["ocr"] else []
        return ", ".join(parts)

    @property
    def is_control(self) -> bool:
        """Whether it was run without the samples' own pictures."""
        prompt = self.manifest["prompt"]
        return bool(prompt["blind"] or prompt["pictures"] != "own")

    @property
    def is_complete(self) -> bool:
        return bool(self.manifest["status"] == "complete")

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


def open_run(folder: Path) -> FinishedRun:
    """Read a run's manifest and sum its scores up.

    Raises: VlmbenchError where the folder holds no run, one that is still at work or was killed,
    or one whose files are damaged or of another version.
    """
    manifest = read_manifest(folder)
    if manifest.get("status") not in CLOSED:
        raise VlmbenchError(
            f"the run in {folder} has not ended (status {manifest.get('status')!r}); {AGAIN}"
        )
    if not manifest.get("tasks"):
        raise VlmbenchError(f"the run in {folder} is of an earlier vlmbench; {AGAIN}")
    try:
        tasks = tuple(_task(folder, manifest, name) for name in manifest["tasks"])
        run = FinishedRun(folder=folder, manifest=manifest, tasks=tasks)
        _ = run.model, run.title
    except DAMAGE as error:
        raise damaged(folder, f"{type(error).__name__}: {error}") from None
    return run


def _task(folder: Path, manifest: Mapping[str, Any], name: str) -> FinishedTask:
    found, data, prompt = manifest["tasks"][name], manifest["data"][name], manifest["prompt"]
    _check(found, int, "num_selected", "num_missing", "num_failed")
    _check(found, str, "metric")
    _check(found, list, "profiles")
    _check(data, int, "version", "num_rows")
    _check(data, str, "fingerprint", "source")
    _check(prompt, str, "style", "pictures")
    _check(prompt, int, "shots")
    _check(prompt, bool, "blind", "ocr")
    if found["scores_version"] not in (None, scores.VERSION):
        raise VlmbenchError(
            f"{folder}: the scores of {name} have version {found['scores_version']}, this vlmbench "
            f"reads {scores.VERSION}; the command that made them writes them anew"
        )
    return FinishedTask(
        folder=folder,
        name=name,
        version=data["version"],
        metric=found["metric"],
        shots=prompt["shots"],
        prompt_style="lmms-eval" if name.startswith(LMMS) else prompt["style"],
        is_blind=prompt["blind"],
        pictures=prompt["pictures"],
        has_ocr=prompt["ocr"],
        num_rows=data["num_rows"],
        num_selected=found["num_selected"],
        num_missing=found["num_missing"],
        num_failed=found["num_failed"],
        fingerprint=data["fingerprint"],
        is_mini=name.endswith("@mini") or data["source"].startswith("vlmbench.mini."),
        summaries=_summaries(
            folder / f"scores-{name}.jsonl",
            found["profiles"],
            found["num_selected"] - found["num_missing"],
            IMPORT_AGAIN if "imported" in manifest else AGAIN,
        ),
    )


def _check(record: Mapping[str, Any], kind: type, *names: str) -> None:
    """Raises: KeyError or TypeError where a value is not there or of another type."""
    for name in names:
        if not isinstance(record[name], kind):
            raise TypeError(f"{name!r} is {record[name]!r}")


def _summaries(
    path: Path, profiles: list[Profile], num_scored: int, way_out: str
) -> dict[Profile, Summary]:
    """Raises: VlmbenchError where the file does not hold that many scores, one a sample."""
    if not profiles:
        return {}
    tally, ids = Tally(profiles), set()
    what = ""
    try:
        for record in _lines(path):
            tally.add(Score.of_record(record))
            ids.add(record["id"])
    except DAMAGE as error:
        what = f"{type(error).__name__}: {error}"
    if not what and not len(ids) == tally.num_rows == num_scored:
        what = f"{tally.num_rows:,} lines of {len(ids):,} samples, the run has {num_scored:,}"
    if what:
        raise VlmbenchError(f"{path} is damaged ({what}); {way_out}")
    return {profile: tally.summary(profile) for profile in profiles}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Raises: VlmbenchError for a file that is gone; ValueError for a line that is no JSON."""
    with files.opened(path) as lines:
        for line in lines:
            yield files.decode(line)
