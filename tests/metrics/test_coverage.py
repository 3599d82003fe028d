"""Coverage of the 95 % intervals in simulation; `scripts/interval_coverage.py` has many more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPETITIONS = 6000
"""A standard error of 0.28 points."""


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "interval_coverage.py"
    spec = importlib.util.spec_from_file_location("interval_coverage", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"wrong": 0.2, "num_pictures": 100}, id="independent"),
        pytest.param(
            {"wrong": 0.2, "num_pictures": 150, "per_picture": 5, "agreement": 0.4}, id="clustered"
        ),
        pytest.param(
            {"wrong": 0.4, "num_pictures": 1000, "is_fractional": True}, id="large and fractional"
        ),
        pytest.param(
            {
                **{"wrong": 0.4, "num_pictures": 50, "per_picture": 0, "agreement": 0.4},
                "is_fractional": True,
            },
            id="few unequal clusters",
        ),
        pytest.param(
            {"wrong": 0.35, "wrong_b": 0.3, "num_pictures": 150, "likeness": 0.8}, id="pairs"
        ),
        pytest.param(
            {
                **{"wrong": 0.35, "wrong_b": 0.3, "num_pictures": 150, "likeness": 0.6},
                **{"per_picture": 3, "agreement": 0.4, "is_fractional": True},
            },
            id="clustered pairs",
        ),
    ],
)
def test_intervals_hold_the_truth_94_to_96_times_in_100(
    simulation: ModuleType, settings: dict[str, float]
) -> None:
    case = simulation.Case(**{"per_picture": 1, "is_fractional": False, **settings})
    assert 0.94 <= simulation.coverage(case, REPETITIONS) <= 0.96
