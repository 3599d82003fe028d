"""A checkpoint with random weights, and the scripts that measure."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function: a script's name -> its module, as Python runs it: with its folder on the path."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from idefics2.weights import save_model

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        random_model = importlib.import_module("random_model")
    folder = tmp_path_factory.mktemp("random")
    config = random_model.config_of("tiny")
    random_model.write_folder(config, folder, random_model.SCALES["tiny"])
    save_model(random_model.ours(config, "cpu", torch.float32), folder)
    return folder
