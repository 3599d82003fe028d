"""How often `vlmbench gate` is wrong about a candidate at the very limit, by simulation.

    .venv/bin/python scripts/gate_error_rates.py
    .venv/bin/python scripts/gate_error_rates.py --repetitions 2000

Scores are drawn as in `interval_coverage.py`; the candidate is worse by exactly the limit, so that
GO and NO-GO are both wrong. Nominal are 5 % each; a line is right within 0.4 points (standard
error) at 3,000 repetitions, which take some minutes on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from interval_coverage import BENCHMARKS, VQA_PARTS, VQA_VALUES, Case, drawn

from vlmbench.metrics import noninferiority
from vlmbench.metrics.paired import difference
from vlmbench.tables import aligned


def rates(
    case: Case, max_drop: float, repetitions: int, num_tasks: int = 1, seed: int = 0
) -> tuple[float, ...]:
    """Shares of GO and of NO-GO, both wrong, and the mean number of flips in a task.

    `max_drop`: in [0, 1]; the second model of the case is worse than the first by so much, in each
    of `num_tasks` tasks.
    """
    credit = float(np.dot(VQA_VALUES, VQA_PARTS)) if case.is_fractional else 1.0
    case = replace(case, wrong_b=case.wrong + max_drop / credit)
    rng = np.random.default_rng(seed)
    clusters = case.clusters()
    confidences = noninferiority.go_confidence(), noninferiority.no_go_confidence(num_tasks)
    go = no_go = flips = 0
    for _ in range(repetitions):
        answers = []
        for _ in range(num_tasks):
            scores = drawn(case, rng, clusters)
            low, high = (difference(*scores, clusters, one) for one in confidences)
            answers.append(noninferiority.answer(low.low, high.high, -max_drop))
            flips += low.num_up + low.num_down
        answer = noninferiority.overall(answers)
        go += answer == "GO"
        no_go += answer == "NO-GO"
    return go / repetitions, no_go / repetitions, flips / repetitions / num_tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3000, metavar="N")
    repetitions: int = parser.parse_args().repetitions
    rows = []
    for max_drop in (0.01, 0.03):
        for wrong, likeness in ((0.1, 0.6), (0.3, 0.6), (0.3, 0.9)):
            for benchmark in BENCHMARKS[2:]:
                for is_fractional in (False, True):
                    case = Case(
                        is_fractional=is_fractional, wrong=wrong, likeness=likeness, **benchmark
                    )  # type: ignore[arg-type]  # two shapes of settings
                    go, no_go, flips = rates(case, max_drop, repetitions)
                    rows.append(
                        (
                            "VQA accuracy" if is_fractional else "0 or 1",
                            f"{100 * max_drop:.0f}",
                            f"{wrong:.1f}",
                            f"{likeness:.1f}",
                            f"{case.num_pictures:,}",
                            str(case.per_picture or "1 to many"),
                            f"{flips:,.0f}",
                            f"{100 * go:.1f}",
                            f"{100 * no_go:.1f}",
                        )
                    )
    header = ("scores", "max drop", "wrong", "likeness", "pictures", "a picture", "flips")
    print(aligned((*header, "% GO", "% NO-GO"), rows))


if __name__ == "__main__":
    main()
