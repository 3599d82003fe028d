"""Tasks by name; a user's own are loaded like the built-in ones."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vlmbench.data.predictions import Conventions
from vlmbench.data.splits import Split
from vlmbench.errors import VlmbenchError, no_such
from vlmbench.task.task import Task

_PACKAGED = Path(__file__).parents[1] / "_tasks"  # in a wheel

_CHECKOUT = Path(__file__).parents[2] / "tasks"

BUILT_IN = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
"""Folder of the built-in tasks."""

LMMS = "lmms:"
"""Prefix of the names of lmms-eval's own tasks, which the plug-in `vlmbench.lmms` runs."""

ENTRY_POINTS = "vlmbench.tasks"
"""Group whose entry points name a task: each loads to a `Task`."""


def parse_spec(spec: str, tasks_dir: Path | None = None) -> tuple[Task, Split, bool]:
    """The task and split of `TASK[@SPLIT]`, and whether the split was named."""
    name, _, split = spec.partition("@")
    if "@" in spec and not split:
        raise VlmbenchError(f"no split after @ in {spec!r}; write {name} or {name}@SPLIT")
    task = find(name, tasks_dir)
    return task, task.split(split or None), bool(split)


def find(name: str, tasks_dir: Path | None = None) -> Task:
    """The task of that name: in `tasks_dir`, built in, or of an installed package.

    Raises: VlmbenchError where there is none or more than one, or where it does not load.
    """
    places = _places(tasks_dir)
    if name not in places:
        raise no_such("task", name, places)
    return _load(name, places[name])


def every(tasks_dir: Path | None = None) -> Iterator[Task]:
    """All tasks by name."""
    for name, places in sorted(_places(tasks_dir).items()):
        yield _load(name, places)


def installed(name: str) -> Task | None:
    """The built-in or installed task of that name; None: there is none here.

    So for what is known of a task by its name alone: in a run's folder, or in reported results.
    """
    places = _places(None)
    return _load(name, places[name]) if name in places else None


def conventions_of(name: str) -> Conventions:
    """The conventions of the installed task of that name; the default ones if there is none."""
    task = installed(name)
    return task.conventions if task else Conventions()


def load_file(path: Path) -> Task:
    """The constant TASK of a task file; a process runs a file once.

    Raises: VlmbenchError that names the file where it does not run or holds no such task.
    """
    module_name = f"vlmbench task {path.resolve()}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # before it runs: dataclasses look their own module up
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # somebody's code; its errors are the user's
            del sys.modules[module_name]
            raise _does_not_load(str(path), error) from error
    return _checked(getattr(sys.modules[module_name], "TASK", None), path.stem, str(path))


Place = Path | importlib.metadata.EntryPoint


def _places(tasks_dir: Path | None) -> dict[str, list[Place]]:
    """Places of each task name; the built-in ones and a user's by file name, unread."""
    folders = [BUILT_IN]
    if tasks_dir is not None and tasks_dir.resolve() != folders[0].resolve():
        if not tasks_dir.is_dir():
            raise VlmbenchError(f"no folder {tasks_dir}: --tasks-dir takes a folder of task files")
        folders.append(tasks_dir)
    places: dict[str, list[Place]] = {}
    for folder in folders:
        for path in folder.glob("[!_]*.py"):
            places.setdefault(path.stem, []).append(path)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        places.setdefault(point.name, []).append(point)
    return places


def _load(name: str, places: Sequence[Place]) -> Task:
    if len(places) > 1:
        where = " and ".join(map(_described, places))
        raise VlmbenchError(f"there are several tasks named {name!r}: {where}; rename yours")
    place = places[0]
    if isinstance(place, Path):
        return load_file(place)
    where = _described(place)
    try:
        task = place.load()
    except (Exception, SystemExit) as error:  # somebody's code; its errors are the user's
        raise _does_not_load(where, error) from error
    return _checked(task, name, where)


def _described(place: Place) -> str:
    if isinstance(place, Path):
        return str(place)
    return f"entry point {place.value} of {place.dist.name if place.dist else 'a package'}"


def _does_not_load(where: str, error: BaseException) -> VlmbenchError:
    kind = "" if isinstance(error, VlmbenchError) else f"{type(error).__name__}: "
    return VlmbenchError(f"{where} does not load: {kind}{error}")


def _checked(task: object, name: str, where: str) -> Task:
    if not isinstance(task, Task):
        raise VlmbenchError(f"{where} defines no TASK = Task(...)")
    if task.name != name:
        raise VlmbenchError(f"{where} defines the task {task.name!r}; name and file must agree")
    return task
