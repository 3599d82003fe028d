"""What may import what: read from the source, so that no import has to run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FORBIDDEN = {
    "vlmbench": {"idefics2", "torch", "transformers", "tasks", "model"},
    "tasks": {"idefics2", "torch", "transformers", "tasks", "model"},
    "model/idefics2": {"vlmbench", "tasks", "model", "transformers"},
}
BRIDGES = {  # the files that may import what their folder may not
    "vlmbench/backends/idefics2.py": {"idefics2", "torch"},
    "vlmbench/backends/idefics2_prompts.py": {"idefics2"},
    "vlmbench/commands/train.py": {"idefics2"},
    "vlmbench/backends/transformers.py": {"torch", "transformers"},
    "vlmbench/backends/auto_model.py": {"torch", "transformers"},
    "vlmbench/backends/ceilings.py": {"idefics2", "torch"},
    "vlmbench/backends/decoding.py": {"torch"},
    "vlmbench/backends/devices.py": {"torch"},
    "vlmbench/backends/rendering.py": {"transformers"},
}
TASKS_MAY_USE = {"data", "metrics", "parse", "prompts", "rows", "schema", "task"}
METRICS_MAY_USE = {"errors", "metrics", "parse", "schema"}


def modules_of(path: Path) -> set[str]:
    """Dotted names of all modules that the file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no Python files in {folder}"
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder: str) -> None:
    for path in files(folder):
        name = path.relative_to(ROOT).as_posix()
        wrong = {found.split(".")[0] for found in modules_of(path)} & FORBIDDEN[folder]
        assert wrong <= BRIDGES.get(name, set()), f"{name} may not import {sorted(wrong)}"


@pytest.mark.parametrize(
    ("folder", "allowed"), [("tasks", TASKS_MAY_USE), ("vlmbench/metrics", METRICS_MAY_USE)]
)
def test_tasks_and_metrics_use_only_what_lies_below_them(folder: str, allowed: set[str]) -> None:
    for path in files(folder):
        ours = {name.split(".")[1] for name in modules_of(path) if name.startswith("vlmbench.")}
        assert ours <= allowed, f"{path.relative_to(ROOT)} may not import {sorted(ours - allowed)}"


def test_schema_and_errors_import_nothing_of_ours() -> None:
    for name in ("schema", "errors"):
        ours = {m for m in modules_of(ROOT / f"vlmbench/{name}.py") if m.startswith("vlmbench")}
        assert not ours
