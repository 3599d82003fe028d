"""What may import what: read from the source, so that no import has to run."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "model" / "recipes"

GROUND = {
    *("conditions", "errors", "schema", "files", "image_files", "tables", "terminal"),
    "__init__",
}
"""Modules at the top of `vlmbench/` that every package may use."""

MAY_IMPORT = {
    "data": set[str](),
    "metrics": set[str](),
    "backends": set[str](),
    "task": {"data", "metrics"},
    "runs": {"backends", "task", "data", "metrics"},
    "reports": {"runs.folder", "task", "data", "metrics"},
    "cli": {"reports", "runs", "backends", "task", "data", "metrics"},
    "lmms": {"runs", "backends", "task", "data", "metrics"},
    "__main__": {"cli"},
}
"""Package of `vlmbench/` to the packages below it, beside its own modules and the ground.

`lmms` is a plug-in: nothing imports it, and it is loaded by name.
"""

OUTSIDE = {
    "vlmbench": {"idefics2", "torch", "transformers", "tasks", "model", "recipes"},
    "tasks": {"idefics2", "torch", "transformers", "tasks", "model", "recipes"},
    "model/idefics2": {"vlmbench", "tasks", "model", "recipes", "transformers"},
    "model/recipes": {"tasks", "model", "transformers"},
}
"""Folder to the top-level names that it may not import, whatever they stand for."""

BRIDGES = {
    "vlmbench/backends/idefics2.py": {"idefics2", "torch"},
    "vlmbench/backends/idefics2_prompts.py": {"idefics2"},
    "vlmbench/backends/transformers.py": {"torch", "transformers"},
    "vlmbench/backends/auto_model.py": {"torch", "transformers"},
    "vlmbench/backends/vision_cache.py": {"torch", "transformers"},
    "vlmbench/backends/bench/ceilings.py": {"idefics2", "torch"},
    "vlmbench/backends/decoding.py": {"torch"},
    "vlmbench/backends/devices.py": {"torch"},
    "vlmbench/backends/rendering.py": {"transformers"},
    "vlmbench/cli/commands/train.py": {"idefics2"},
}
"""Files that may import what their folder may not."""

OF_THE_HARNESS = {
    "tasks": {"data", "metrics", "schema", "task"},
    "model/recipes": {"data", "metrics", "reports", "schema", "task"},
}
"""Folder outside `vlmbench/` to the parts of it that its files may import."""


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Dotted names of all that the file imports, anywhere in it; `from A import b` gives A.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 1 and path.parent.parent == RECIPES:
                continue  # within one recipe's package, whose import name is not fixed
            assert not node.level, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no Python files in {folder}"
    return found


def is_below(name: str, allowed: set[str]) -> bool:
    """Whether a dotted name lies in one of the allowed packages."""
    return any(f"{name}.".startswith(f"{package}.") for package in allowed)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_those_below_them(package: str) -> None:
    allowed = {package, *GROUND, *MAY_IMPORT[package], "__version__"}
    where = ROOT / "vlmbench" / package
    for path in sorted(where.rglob("*.py")) if where.is_dir() else [where.with_suffix(".py")]:
        ours = {n.partition(".")[2] for n in imports_of(path) if n.startswith("vlmbench.")}
        wrong = {name for name in ours if not is_below(name, allowed)}
        assert not wrong, f"{path.relative_to(ROOT)} may not import {sorted(wrong)}"


def test_every_package_is_in_the_table() -> None:
    folders = {path.parent.name for path in (ROOT / "vlmbench").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "vlmbench").glob("*.py")}
    assert folders | modules == MAY_IMPORT.keys() | GROUND


def test_the_ground_imports_nothing_of_ours_but_the_ground() -> None:
    for path in (ROOT / "vlmbench").glob("*.py"):
        ours = {n.partition(".")[2] for n in imports_of(path) if n.startswith("vlmbench.")}
        if path.stem == "__init__":  # `vlmbench.evaluate`, imported when it is asked for
            ours -= {"runs.evaluate.evaluate"}
        if path.stem != "__main__":
            assert all(is_below(n, GROUND) for n in ours), f"{path.name} imports {sorted(ours)}"


@pytest.mark.parametrize("folder", OUTSIDE)
def test_folders_do_not_import_one_another(folder: str) -> None:
    for path in files(folder):
        name = path.relative_to(ROOT).as_posix()
        wrong = {found.split(".")[0] for found in imports_of(path)} & OUTSIDE[folder]
        assert wrong <= BRIDGES.get(name, set()), f"{name} may not import {sorted(wrong)}"


@pytest.mark.parametrize("folder", OF_THE_HARNESS)
def test_tasks_and_recipes_use_little_of_the_harness(folder: str) -> None:
    for path in files(folder):
        ours = {n.split(".")[1] for n in imports_of(path) if n.startswith("vlmbench.")}
        wrong = ours - OF_THE_HARNESS[folder]
        assert not wrong, f"{path.relative_to(ROOT)} may not import {sorted(wrong)}"
