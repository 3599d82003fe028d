"""sweep.json: the runs of one model under several settings, in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vlmbench import files
from vlmbench.errors import VlmbenchError
from vlmbench.runs.folder.layout import MANIFEST

FILE = "sweep.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A setting that a sweep turns."""

    name: str
    values: tuple[str, ...]
    """As they were written on the command line, in that order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All of sweep.json: each run's folder stands beside it."""

    schema_version: int = SCHEMA_VERSION
    model: str
    tasks: tuple[str, ...]
    over: tuple[Axis, ...]
    runs: Mapping[str, Mapping[str, str]]
    """Name of a run's folder to the value of each setting that was turned."""

    command: tuple[str, ...] = ()

    @property
    def curve(self) -> Axis:
        """The axis along which points are joined: the one of most values, of equals the last."""
        return max(reversed(self.over), key=lambda axis: len(axis.values))


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep whose runs are in a folder; None: there is none.

    Raises: VlmbenchError for a damaged file, or one of another version.
    """
    path = folder / FILE
    try:
        sweep = files.decode_as(path.read_bytes(), Sweep)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise VlmbenchError(
            f"{path} is damaged ({error}); the runs beside it are whole: the sweep's command "
            "writes it anew once it is removed"
        ) from None
    if sweep.schema_version != SCHEMA_VERSION:
        raise VlmbenchError(
            f"{path} has schema version {sweep.schema_version}, this vlmbench reads "
            f"{SCHEMA_VERSION}"
        )
    return sweep


def write_sweep(folder: Path, sweep: Sweep) -> None:
    """Replace sweep.json as a whole. Raises: VlmbenchError where it cannot be written."""
    with files.writing(folder, "a sweep"):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{FILE}.partial"
        partial.write_bytes(msgspec.json.format(files.encode(sweep), indent=1) + b"\n")
        partial.replace(folder / FILE)


def with_runs(folders: Iterable[Path]) -> list[Path]:
    """The folders of runs; that of a sweep stands for those of its runs that have begun.

    Raises: VlmbenchError as `read_sweep` does.
    """
    found: list[Path] = []
    for folder in folders:
        sweep = read_sweep(folder)
        runs = [folder] if sweep is None else [folder / name for name in sweep.runs]
        found += runs if sweep is None else [run for run in runs if (run / MANIFEST).is_file()]
    return found
