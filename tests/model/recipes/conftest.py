"""The package of the tiny recipe: its files are attributes, such as `tiny.labels`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from idefics2.train.recipe_loading import load_recipes


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    return load_recipes(Path(__file__).parents[3] / "model" / "recipes" / "tiny")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny matrices: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
