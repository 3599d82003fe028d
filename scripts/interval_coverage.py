"""How often the 95 % intervals of scores and of differences hold the truth, by simulation.

    .venv/bin/python scripts/interval_coverage.py
    .venv/bin/python scripts/interval_coverage.py --repetitions 2000

A sample's score is drawn by a normal variable, in part its picture's (`agreement`), and for pairs
in part both models' (`likeness`): so the true mean is known. A line is right within 0.22 points
(standard error) at 10,000 repetitions; some minutes on one core.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vlmbench.metrics.intervals import Floats, estimate
from vlmbench.metrics.paired import difference
from vlmbench.tables import aligned

VQA_VALUES = (0.0, 0.3, 0.6, 0.9, 1.0)
VQA_PARTS = (0.0, 0.1, 0.1, 0.1, 0.7)
"""How VQA accuracy's values share what is not wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A benchmark and what is scored on it."""

    is_fractional: bool
    """True: scores are those of VQA accuracy; False: 0 or 1."""

    wrong: float
    """Share of samples with score 0."""

    num_pictures: int
    per_picture: int
    """Samples of a picture; 0: geometrically spread around 4."""

    agreement: float = 0.0

    wrong_b: float | None = None
    """Of a second model; None: the interval is of one model's mean."""

    likeness: float = 0.0
    """Of the two models; the more, the fewer flips."""

    def clusters(self) -> NDArray[np.int64]:
        sizes: int | NDArray[np.int64] = self.per_picture
        if not sizes:
            sizes = np.random.default_rng(3).geometric(0.25, self.num_pictures)
        return np.repeat(np.arange(self.num_pictures), sizes)

    def values(self) -> Floats:
        return np.array(VQA_VALUES if self.is_fractional else (0.0, 1.0))

    def shares(self, wrong: float) -> Floats:
        parts = np.array(VQA_PARTS if self.is_fractional else (0.0, 1.0))
        shares: Floats = parts * (1 - wrong)
        shares[0] = wrong
        return shares

    def truth(self) -> float:
        mean_a = float(self.shares(self.wrong) @ self.values())
        if self.wrong_b is None:
            return mean_a
        return float(self.shares(self.wrong_b) @ self.values()) - mean_a


def coverage(case: Case, repetitions: int, seed: int = 0) -> float:
    """The share of repetitions whose interval holds the truth."""
    rng = np.random.default_rng(seed)
    clusters, truth, held = case.clusters(), case.truth(), 0
    for _ in range(repetitions):
        a, b = drawn(case, rng, clusters)
        if b is None:
            one = estimate(a, clusters)
            held += one.low <= truth <= one.high
            continue
        both = difference(a, b, clusters)
        held += both.low <= truth <= both.high
    return held / repetitions


def drawn(
    case: Case, rng: np.random.Generator, clusters: NDArray[np.int64]
) -> tuple[Floats, Floats | None]:
    """Scores of the first model and, where the case has one, of the second."""
    shared = _normal(rng, clusters, case)
    a = _scores(case, case.wrong, _mixed(case.likeness, shared, _normal(rng, clusters, case)))
    if case.wrong_b is None:
        return a, None
    return a, _scores(
        case, case.wrong_b, _mixed(case.likeness, shared, _normal(rng, clusters, case))
    )


def _normal(rng: np.random.Generator, clusters: NDArray[np.int64], case: Case) -> Floats:
    pictures = rng.standard_normal(case.num_pictures)[clusters]
    return _mixed(case.agreement, pictures, rng.standard_normal(len(clusters)))


def _mixed(share: float, one: Floats, other: Floats) -> Floats:
    mixed: Floats = math.sqrt(share) * one + math.sqrt(1 - share) * other
    return mixed


def _scores(case: Case, wrong: float, normal: Floats) -> Floats:
    below = np.cumsum(case.shares(wrong))[:-1]
    scores: Floats = case.values()[np.searchsorted(list(map(NormalDist().inv_cdf, below)), normal)]
    return scores


BENCHMARKS = (
    {"num_pictures": 10, "per_picture": 1},
    {"num_pictures": 30, "per_picture": 1},
    {"num_pictures": 100, "per_picture": 1},
    {"num_pictures": 1000, "per_picture": 1},
    {"num_pictures": 30, "per_picture": 5, "agreement": 0.4},
    {"num_pictures": 50, "per_picture": 0, "agreement": 0.4},
    {"num_pictures": 200, "per_picture": 5, "agreement": 0.4},
    {"num_pictures": 200, "per_picture": 0, "agreement": 0.8},
)
MODELS: tuple[dict[str, float], ...] = (
    {"wrong": 0.5},
    {"wrong": 0.2},
    {"wrong": 0.08},
    {"wrong": 0.3, "wrong_b": 0.3, "likeness": 0.9},
    {"wrong": 0.3, "wrong_b": 0.2, "likeness": 0.6},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=10_000, metavar="N")
    repetitions: int = parser.parse_args().repetitions
    rows = []
    for model in MODELS:
        for benchmark in BENCHMARKS:
            for is_fractional in (False, True):
                case = Case(is_fractional=is_fractional, **benchmark, **model)  # type: ignore[arg-type]  # two shapes of settings
                rows.append(
                    (
                        "VQA accuracy" if is_fractional else "0 or 1",
                        f"{case.wrong:.2f}" + (f", {case.wrong_b:.2f}" if case.wrong_b else ""),
                        f"{case.num_pictures:,}",
                        str(case.per_picture or "1 to many"),
                        f"{case.agreement:.1f}",
                        f"{100 * coverage(case, repetitions):.1f}",
                    )
                )
    header = ("scores", "wrong", "pictures", "a picture", "agreement", "% covered")
    print(aligned(header, rows, num_left=2))


if __name__ == "__main__":
    main()
