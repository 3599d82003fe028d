"""Writes the report's folder: static pages, data of the runs, pictures of the data sets."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from vlmbench import __version__
from vlmbench.errors import VlmbenchError
from vlmbench.reports.viewer import chunks, overview, plots
from vlmbench.reports.viewer.pictures import Pictures
from vlmbench.reports.viewer.questions import Questions
from vlmbench.reports.viewer.samples import Samples
from vlmbench.runs.folder import provenance
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask, open_run

PAGE = "index.html"
MARK = Path("data/report.js")
"""The file by which a folder is known to be a report, so that nothing else is ever replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that has been written."""

    page: Path
    num_samples: int
    num_pictures: int
    notes: Sequence[str]
    """Things that could not be shown and why, a line each; the pages say the same."""


def build(
    run_folders: Sequence[Path],
    out: Path,
    *,
    tasks: Sequence[str] = (),
    data_dir: Path | None = None,
    tasks_dir: Path | None = None,
    limit_pictures: int | None = None,
    max_side: int | None = None,
    has_plots: bool = True,
) -> Report:
    """Write the report of these runs to `out`; an earlier report there is replaced.

    `tasks`: each `TASK` or `TASK@SPLIT`; none: all. `limit_pictures`: at most so many are copied.
    `max_side`: larger ones are scaled to that many pixels. Where a data set is not at hand the
    report lacks what only that has, and says so.

    Raises: VlmbenchError for a folder without a finished run, or an `out` that holds other files.
    """
    runs = [open_run(folder).only(tasks) for folder in run_folders]
    _check(out)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        for file in (resources.files(__package__) / "static").iterdir():
            (partial / file.name).write_bytes(file.read_bytes())
        pictures = Pictures(partial / "pictures", limit=limit_pictures, max_side=max_side)
        writer = _Writer(partial / "data", pictures, data_dir, tasks_dir)
        for number, (name, run) in enumerate(zip(_names(runs), runs, strict=True)):
            writer.add(number, name, run)
        drawn = plots.draw(runs, partial / "plots") if has_plots else {}
        writer.close(overview.over_tasks(runs), drawn)
        _replace(partial, out)
    except OSError as error:
        raise VlmbenchError(
            f"cannot write the report to {out}: {error.strerror or error}"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Report(
        page=out / PAGE,
        num_samples=writer.num_samples,
        num_pictures=pictures.num_written,
        notes=writer.notes,
    )


class _Writer:
    """Writes the data of runs, one after the other."""

    def __init__(
        self, folder: Path, pictures: Pictures, data_dir: Path | None, tasks_dir: Path | None
    ) -> None:
        self._folder, self._pictures = folder, pictures
        self._places: Mapping[str, Path | None] = {"data_dir": data_dir, "tasks_dir": tasks_dir}
        self._runs: list[dict[str, Any]] = []
        self.num_samples = 0
        self.notes: list[str] = []

    def add(self, number: int, name: str, run: FinishedRun) -> None:
        tasks = [self._task(run, task, f"{number}-{n}") for n, task in enumerate(run.tasks)]
        self._runs.append(overview.of_run(run, name) | {"tasks": tasks})

    def close(self, over_tasks: Sequence[Mapping[str, Any]], drawn: Mapping[str, Any]) -> None:
        """Write the page's own data."""
        content = {
            "runs": [{**run, **part} for run, part in zip(self._runs, over_tasks, strict=True)],
            "costs": overview.heads(),
            "vlmbench": __version__,
            "made": provenance.now(),
            **drawn,
        }
        chunks.write(self._folder, "report", content)

    def _task(self, run: FinishedRun, task: FinishedTask, folder: str) -> dict[str, Any]:
        print(f"vlmbench: reading {task.name} of {run.folder}", file=sys.stderr)
        questions, note = None, ""
        try:
            questions = Questions(run, task, self._pictures, **self._places)
        except VlmbenchError as error:
            note = f"no questions, prompts and pictures: {error}; then make this report again"
        files = chunks.TaskFiles(self._folder, folder)
        samples = Samples(task, questions, files)
        samples.write()
        if samples.num_other_prompts:
            note = (
                f"{samples.num_other_prompts:,} samples of the data at hand are not those that "
                "this run was asked; they are marked"
            )
        if note:
            self.notes.append(f"{run.folder}: {task.name}: {note}")
        self.num_samples += files.num_samples
        return overview.of_task(run, task) | {
            "folder": folder,
            "samples": files.num_samples,
            "chunks": files.close(),
            "categories": samples.categories,
            "note": note,
        }


def _names(runs: Sequence[FinishedRun]) -> list[str]:
    """Short names of runs for addresses: their folders', numbered where two are equal."""
    names: list[str] = []
    for run in runs:
        name = run.folder.resolve().name
        same = sum(other.folder.resolve().name == name for other in runs[: len(names)])
        names.append(f"{name}-{same + 1}" if same else name)
    return names


def _check(out: Path) -> None:
    is_taken = out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file()
    if not out.name or out.is_file() or is_taken:
        raise VlmbenchError(f"{out} holds other files; give the report a folder of its own: --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VlmbenchError(f"cannot write the report to {out}: {error.strerror}") from None


def _replace(partial: Path, out: Path) -> None:
    """Puts the new report in place of the earlier one, which stays until then."""
    earlier = partial.with_suffix(".earlier")
    with suppress(FileNotFoundError):
        out.rename(earlier)
    partial.rename(out)
    shutil.rmtree(earlier, ignore_errors=True)
