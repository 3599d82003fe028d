"""Writes the report's folder: static pages, data of the runs, pictures of the data sets."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from vlmbench import __version__
from vlmbench.data.policy import STRICT, Policy
from vlmbench.errors import VlmbenchError
from vlmbench.reports.viewer import chunks, overview, plots
from vlmbench.reports.viewer.pictures import Pictures
from vlmbench.reports.viewer.questions import Questions
from vlmbench.reports.viewer.samples import Samples
from vlmbench.runs.folder import provenance
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask, open_run

PAGE = "index.html"
MARK = Path("data/report.js")
"""The file by which a folder is known to be a report, beside `LISTING`."""

MARK_START = b'deliver("report", '
LISTING = ".vlmbench-report"
"""Names of the files that we wrote, a line each: a later report replaces these and no others."""

OURS_UNLISTED = re.compile(
    r"data/report\.js|data/\d+-\d+/(index|text|detail)-\d+\.js"
    r"|pictures/[0-9a-f]{32}\.(jpg|png|gif|webp)|plots/(tradeoff|radar|latency)[\w@.-]*\.svg"
)
"""What a report without a listing holds beside the static files, as earlier versions wrote it."""


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
    policy: Policy = STRICT,
) -> Report:
    """Write the report of these runs to `out`; an earlier report there is replaced.

    `tasks`: each `TASK` or `TASK@SPLIT`; none: all. `limit_pictures`: at most so many are copied.
    `max_side`: larger ones are scaled to that many pixels. Where a data set is not at hand the
    report lacks what only that has, and says so.

    Raises: VlmbenchError for a folder without a finished run, or an `out` that holds other files.
    """
    runs = [open_run(folder).only(tasks) for folder in run_folders]
    out = _folder(out)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        for file in (resources.files(__package__) / "static").iterdir():
            (partial / file.name).write_bytes(file.read_bytes())
        pictures = Pictures(
            partial / "pictures",
            limit=limit_pictures,
            max_side=max_side,
            max_pixels=policy.max_pixels,
        )
        places = {"data_dir": data_dir, "tasks_dir": tasks_dir, "policy": policy}
        writer = _Writer(partial / "data", pictures, places)
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

    def __init__(self, folder: Path, pictures: Pictures, places: Mapping[str, Any]) -> None:
        """`places`: where the data are, as `Questions` takes them."""
        self._folder, self._pictures, self._places = folder, pictures, places
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


def _folder(out: Path) -> Path:
    """Where the report is written: `out`, or where that link leads."""
    real = Path(os.path.realpath(out))
    is_taken = real.is_dir() and any(real.iterdir()) and not _is_report(real)
    if not real.name or (os.path.lexists(real) and not real.is_dir()) or is_taken:
        raise VlmbenchError(f"{out} holds other files; give the report a folder of its own: --out")
    try:
        real.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VlmbenchError(f"cannot write the report to {out}: {error.strerror}") from None
    return real if out.is_symlink() else out


def _is_report(folder: Path) -> bool:
    """True for a folder with our listing, or with data as earlier versions wrote them."""
    listing, mark = folder / LISTING, folder / MARK
    if listing.is_file() and not listing.is_symlink():
        return True
    if not (folder / PAGE).is_file() or not mark.is_file():
        return False
    with mark.open("rb") as file:
        return file.read(len(MARK_START)) == MARK_START


def _replace(partial: Path, out: Path) -> None:
    """Moves the new report's files in, and removes the earlier one's: no others are touched.

    Raises: VlmbenchError where somebody else's file is in the way.
    """
    new = [path.relative_to(partial) for path in _files(partial)] + [Path(LISTING)]
    (partial / LISTING).write_text("".join(f"{name}\n" for name in new), "utf-8")
    earlier = {path.relative_to(out) for path in _files(out)} & _listed(out)
    for name in new:
        if taken := _in_the_way(out, name, earlier):
            raise VlmbenchError(f"{taken} is not the report's; move it, or name another --out")
    for name in new:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).replace(out / name)
    for name in sorted(earlier - {*new}, reverse=True):
        (out / name).unlink()
        with suppress(OSError):  # other files are in it
            (out / name).parent.rmdir()


def _files(folder: Path) -> list[Path]:
    """Everything in a folder that is no folder; links are not followed."""
    return [Path(where) / name for where, _, names in os.walk(folder) for name in names]


def _listed(out: Path) -> set[Path]:
    listing = out / LISTING
    if listing.is_file() and not listing.is_symlink():
        return {Path(line) for line in listing.read_text("utf-8").splitlines()}
    static = {Path(file.name) for file in (resources.files(__package__) / "static").iterdir()}
    names = (path.relative_to(out) for path in _files(out))
    return static | {name for name in names if OURS_UNLISTED.fullmatch(name.as_posix())}


def _in_the_way(out: Path, name: Path, earlier: Set[Path]) -> Path | None:
    """What stands at a name that is to be written: a file that we did not write, or a link."""
    for parent in reversed(name.parents[:-1]):
        found = out / parent
        if os.path.lexists(found) and (found.is_symlink() or not found.is_dir()):
            return found
    found = out / name
    is_ours = name in earlier and found.is_file() and not found.is_symlink()
    return found if os.path.lexists(found) and not is_ours else None
