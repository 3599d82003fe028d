"""A benchmark's splits, and their rows from the hub, an official file or a local folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from vlmbench import files as file_reading
from vlmbench.data import repositories, row_files
from vlmbench.data.policy import STRICT, Policy
from vlmbench.data.repositories import Drawn, Hub, Url
from vlmbench.data.rows import Rows
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json

__all__ = ["AnswerFile", "Drawn", "Hub", "Split", "Url", "drawn", "fetch", "load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFile:
    """Answers that a benchmark published apart from its rows: a JSON object, id to record."""

    name: str
    id: str
    """The rows' column that has the id."""

    columns: Mapping[str, str]
    """The rows' column to the record's field that replaces it: {"answer": "ground_truth"}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A public split of a benchmark."""

    name: str
    sources: tuple[Hub | Url | Drawn, ...] = ()
    """Tried in order: benchmarks move, and old ids keep working only for a while.

    Empty: there are only local copies.
    """

    size: int | None = None
    """Rows, which a download is checked against; None: not known."""

    answers: Literal["public", "hidden", "some sources"] = "public"
    """"some sources": published after the fact, so that a copy may or may not hold them."""

    columns: tuple[str, ...] = ()
    """Columns without which no row can be read; pictures apart."""

    pictures: tuple[str, ...] = ("image",)
    """Columns that hold pictures; of these, the first must be there."""

    only: Mapping[str, str] = field(default_factory=dict)
    """Rows to take of a text file with more than this split: {"split": "test"}."""

    answer_file: AnswerFile | None = None
    """Taken where it lies in the data folder."""

    train: Split | None = None
    """Split of few-shot examples for this one; None: the task's `train`."""


def drawn(name: str, like: Split, *, scenes: str, size: int) -> Split:
    """A split with the columns of `like` whose rows `vlmbench.mini` draws."""
    train = replace(
        like,
        name=f"{name}-train",
        sources=(Drawn(scenes=scenes, part="train"),),
        size=None,
        answers="public",
        only={},
        answer_file=None,
    )
    return replace(train, name=name, sources=(Drawn(scenes=scenes),), size=size, train=train)


def load(
    task: str,
    split: Split,
    data_dir: Path | None = None,
    *,
    needs_pictures: bool = True,
    policy: Policy = STRICT,
) -> Rows:
    """The split's rows: from `data_dir` where given, else from the first source that has them.

    A source that is not cached is downloaded, unless the user is offline. `needs_pictures`: False
    also takes a copy without pictures, which is enough to score.

    Raises: VlmbenchError that names the command to fetch the data, or what the folder lacks.
    """
    folder = _task_folder(task, data_dir) if data_dir else None
    answers = _answers(split.answer_file, folder) if folder else None
    files = _files_of(task, split, folder) if folder else []
    if folder and files:
        rows = _read(split, files, str(folder), "local", folder)
    elif folder and answers is None:
        raise VlmbenchError(f"no {_kinds()} file in {folder}")
    else:
        rows = _download(task, split)
    rows.policy = policy
    if answers is not None and split.answer_file:
        rows.patch(split.answer_file.id, answers)
    _check_columns(rows, split, needs_pictures)
    return rows


def is_here(split: Split) -> bool:
    """True if `load` needs neither a folder nor the network for the split."""
    return repositories.is_here(split.sources)


def fetch(task: str, split: Split, *, force: bool = False) -> Rows:
    """Download what is new of the split, or with `force` all of it, into the cache of `load`.

    Raises: VlmbenchError where no source has it, or it has not the rows and columns it should have.
    """
    rows = _download(task, split, refresh=True, force=force)
    _check_columns(rows, split, needs_pictures=True)
    return rows


def _download(task: str, split: Split, *, refresh: bool = False, force: bool = False) -> Rows:
    name = f"{task}@{split.name}"
    if not split.sources:
        raise VlmbenchError(f"{name} cannot be downloaded; name a local copy with --data-dir")
    try:
        found = repositories.locate(split.sources, refresh=refresh, force=force)
    except repositories.NotAvailableError as error:
        raise VlmbenchError(
            f"{name} is not on this machine: tried {error}. With access to the network run: "
            f"vlmbench fetch {name}; or name a local copy with --data-dir"
        ) from None
    again = f"to download it again: vlmbench fetch --force {name}"
    try:
        rows = _read(split, found.files, found.source, found.revision, found.folder)
    except VlmbenchError as error:
        raise VlmbenchError(f"{error}; {again}") from None
    if split.size is not None and len(rows) != split.size:
        raise VlmbenchError(
            f"{rows.source} at {rows.revision} has {len(rows):,} rows where {name} has "
            f"{split.size:,}; {again}"
        )
    return rows


def _read(split: Split, files: Sequence[Path], source: str, revision: str, folder: Path) -> Rows:
    fingerprint = row_files.fingerprint(files, folder)
    dataset = row_files.read(files, split.pictures, split.only, fingerprint)
    return Rows(
        dataset,
        pictures=split.pictures,
        source=source,
        revision=revision,
        folder=folder,
        fingerprint=fingerprint,
    )


def _check_columns(rows: Rows, split: Split, needs_pictures: bool) -> None:
    if not len(rows):
        raise VlmbenchError(f"{rows.source} has no rows of {split.name}")
    wanted = split.columns + (split.pictures[:1] if needs_pictures else ())
    missing = [column for column in wanted if column not in rows.columns]
    if missing:
        raise VlmbenchError(
            f"{rows.source} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"there are: {', '.join(rows.columns)}"
        )


def _kinds() -> str:
    return ", ".join(suffix.lstrip(".") for suffix in row_files.SUFFIXES)


def _task_folder(task: str, data_dir: Path) -> Path:
    if not data_dir.is_dir():
        raise VlmbenchError(f"no folder {data_dir}: --data-dir takes a folder of {_kinds()} files")
    return data_dir / task if (data_dir / task).is_dir() else data_dir


def _files_of(task: str, split: Split, folder: Path) -> list[Path]:
    """The split's files in a local folder; empty where it has no data files at all.

    First those at the path that they have on the hub ("en/dev-00000-of-00001.parquet"); then a file
    or folder, there or in data/, with the name of the split or of its hub files ("dev.jsonl",
    "dev/data-00000-of-00001.arrow"); then the only file there, unless it is named for other splits.
    """
    parts: dict[str, list[Path]] = {}
    for path in sorted(path for depth in DEPTHS for path in folder.glob(depth)):
        if path.suffix in row_files.SUFFIXES and path.is_file():
            name = SHARD.sub("", path.relative_to(folder).with_suffix("").as_posix())
            parts.setdefault(name, []).append(path)
    for source in split.sources:
        at = re.compile(re.escape(source.files).replace(r"\*", "[^/]+"))
        if files := [path for name in parts if at.fullmatch(name) for path in parts[name]]:
            return files
    names = [split.name, *(PurePosixPath(source.files).name for source in split.sources)]
    for name in names:
        for place in (name, f"data/{name}", f"{name}/data", f"data/{name}/data"):
            if place in parts:
                return parts[place]
    top = [name for name in parts if "/" not in name]
    if len(top) == 1 and _split_words(top[0]) in [set(), *map(_split_words, names)]:
        return parts[top[0]]
    if not parts:
        return []
    expected = " or ".join([f"{split.name}.*", *(f"{s.files}*" for s in split.sources[:1])])
    raise VlmbenchError(
        f"{folder} has no file for {task}@{split.name}: expected {expected}; "
        f"there are: {', '.join(sorted(parts)[:5])}"
    )


DEPTHS = ("*", "*/*", "*/*/*")
"""Links to folders are followed, as `**` would not."""

SHARD = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]{16})?$")
SPLITS = {"train", "dev", "validation", "test", "testdev", "testmini"}


def _split_words(name: str) -> set[str]:
    words = set(re.split("[^a-z0-9]+", name.lower()))
    return SPLITS & (words | {"validation"} if "val" in words else words)


def _answers(file: AnswerFile | None, folder: Path) -> dict[str, dict[str, Json]] | None:
    if file is None or not (folder / file.name).is_file():
        return None
    path = folder / file.name
    try:
        records = file_reading.json_of(path)
        return {
            id: {column: record[name] for column, name in file.columns.items()}
            for id, record in records.items()
        }
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        fields = ", ".join(file.columns.values())
        raise VlmbenchError(
            f"{path} is no JSON object of id to {{{fields}}}: {type(error).__name__}: {error}"
        ) from None
