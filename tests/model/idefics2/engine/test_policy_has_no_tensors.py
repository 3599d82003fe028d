"""What decides needs no device to be tested: it holds whole numbers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[4] / "model" / "idefics2" / "engine"
POLICY = ("batch", "planner", "scheduler", "stats")


def imported(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


@pytest.mark.parametrize("name", POLICY)
def test_policy_imports_only_policy(name: str) -> None:
    ours = {module for module in imported(ENGINE / f"{name}.py") if "idefics2" in module}
    assert ours <= {f"idefics2.engine.{other}" for other in POLICY}
    assert not {"torch", "numpy"} & imported(ENGINE / f"{name}.py")


def test_the_engine_does_not_import_training() -> None:
    paths = sorted(ENGINE.glob("*.py"))
    assert len(paths) > 10
    assert not [path for path in paths for module in imported(path) if "train" in module]
