"""What arms are worth beside one another, computed from planted scores."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from recipes.findings import arm_files
from recipes.findings.analysis import Laboratory, compared
from recipes.findings.arm_files import ArmResult, Point
from recipes.findings.comparisons import FINDINGS, Comparison, Shown
from recipes.findings.effects import effect, stability, verdict
from recipes.findings.evaluation import Item
from recipes.findings.report import write_report

PICTURES, SEEDS = 100, 3
ITEMS = tuple(
    Item(picture, "slip", kind, "?", "a") for picture in range(PICTURES) for kind in ("read", "x")
)


def _planted(arm: str, seed: int, points: float) -> ArmResult:
    """Scores with chance of their own pictures and seed, and `points` above 40 in the mean."""
    numbers = random.Random(f"{arm}/{seed}")
    of_pictures = [random.Random(f"{picture}").gauss(40, 20) for picture in range(PICTURES)]
    scores = tuple(
        round(of_pictures[item.picture] + points + numbers.gauss(0, 5)) for item in ITEMS
    )
    return ArmResult(
        arm=arm,
        seed=seed,
        size="small",
        steps=100,
        samples=100,
        validation=tuple(
            Point(step=step, scores=tuple(score * step // 100 for score in scores))
            for step in (20, 40, 60, 80, 100)
        ),
        test={
            "whole": scores,
            "split": scores,
            "blank": (10,) * len(scores),
            "other": (12,) * len(scores),
        },
        curve=tuple((step, 2 - step / 100, 1.0) for step in range(0, 100, 5)),
        costs={
            "sample_flops": 1e9,
            "trained_parameters": 10,
            "parameters": 20,
            "whole_visual_tokens": 32,
            "whole_answer_flops": 1e6,
        },
        is_finite=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reference, an arm 6 points worse and one 1 point worse."""
    arm_files.write_questions(tmp_path, {"test": ITEMS, "validation": ITEMS})
    for seed in range(SEEDS):
        _planted("ar-lora", seed, 0).write(tmp_path / "arms")
        _planted("weak-text", seed, -6).write(tmp_path / "arms")
        _planted("weak-vision", seed, -1).write(tmp_path / "arms")
    return tmp_path


def _compared(folder: Path, a: str, papers: float) -> Comparison:
    return Comparison(text=a, a=Shown(a), b=Shown("ar-lora"), papers=papers, source="planted")


def test_a_planted_effect_is_found_and_resolved(folder: Path) -> None:
    found = compared(Laboratory.open(folder, "small"), _compared(folder, "weak-text", 5.1))
    assert found is not None and found.equal_samples.num_seeds == SEEDS
    assert found.equal_samples.low < 6 < found.equal_samples.high
    assert found.equal_samples.value == pytest.approx(6, abs=1)
    assert found.verdict == "same sign, resolved"
    assert found.equal_flops is None  # both cost the same


def test_at_equal_flops_the_dearer_arm_is_the_one_trained_for_less(folder: Path) -> None:
    comparison = Comparison(
        text="", a=Shown("latents-128"), b=Shown("ar-lora"), papers=None, source="planted"
    )
    assert compared(Laboratory.open(folder, "small"), comparison) is None
    for seed in range(SEEDS):
        _planted("latents-128", seed, 4).write(folder / "arms")
    alone = compared(Laboratory.open(folder, "small"), comparison)
    assert alone is not None and alone.equal_flops is None  # not trained yet
    for seed in range(SEEDS):
        _planted("latents-128-equal", seed, -8).write(folder / "arms")
    found = compared(Laboratory.open(folder, "small"), comparison)
    assert found is not None and found.equal_flops is not None
    assert found.equal_samples.value == pytest.approx(-4, abs=1)
    assert found.equal_flops.value == pytest.approx(8, abs=1)


def test_an_effect_of_one_seed_alone_is_not_resolved() -> None:
    a = np.full((3, 200), 50.0)
    b = a + np.array([[30.0], [0.0], [0.0]])
    found = effect(a, b, [index // 2 for index in range(200)])
    assert found.value == pytest.approx(10)
    assert not found.is_resolved and found.high > 40


def test_an_effect_of_few_pictures_is_not_resolved_however_many_seeds() -> None:
    a = np.full((5, 200), 50.0)
    b = a.copy()
    b[:, :4] = 100  # two pictures
    found = effect(a, b, [index // 2 for index in range(200)])
    assert found.value == pytest.approx(1)
    assert not found.is_resolved


def test_intervals_over_pictures_and_seeds_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    pictures = np.repeat(np.arange(60), 4)
    covered = 0
    for _ in range(200):
        noise = rng.normal(0, 10, (4, 240)) + rng.normal(0, 6, 60)[pictures]
        found = effect(np.zeros((4, 240)), 3 + noise + rng.normal(0, 2, (4, 1)), pictures.tolist())
        covered += found.low <= 3 <= found.high
    assert 0.92 <= covered / 200 <= 0.995


@pytest.mark.parametrize(
    ("low", "high", "papers", "expected"),
    [
        (1, 3, 5.0, "same sign, resolved"),
        (-1, 5, 5.0, "same sign, not resolved"),
        (1, 3, -5.0, "other sign"),
    ],
)
def test_verdicts(low: float, high: float, papers: float, expected: str) -> None:
    middle = (low + high) / 2
    scores = np.array([[middle] * 4, [middle] * 4, [middle] * 4])
    found = effect(np.zeros((3, 4)), scores, range(4))
    from dataclasses import replace

    assert verdict(replace(found, low=low, high=high), papers) == expected


def test_spikes_and_divergence_are_read_off_the_loss() -> None:
    falling = [3 - 0.1 * step for step in range(20)]
    spiked = [*falling[:10], 6.0, 6.0, 6.0, *falling[10:]]
    assert stability(falling, is_finite=True) == stability(falling, is_finite=True)
    assert stability(falling, is_finite=True).num_spikes == 0
    assert stability(spiked, is_finite=True).num_spikes > 0
    assert not stability(spiked, is_finite=True).is_diverged
    assert stability([*falling, 7.0, 8.0], is_finite=True).is_diverged
    assert stability([*falling, *[float("nan")] * 3], is_finite=True).is_diverged
    assert stability(falling, is_finite=False).is_diverged


def test_the_report_is_the_same_each_time_and_names_every_effect(folder: Path) -> None:
    path = write_report(folder, "small")
    first = path.read_text("utf-8")
    pictures = {
        name: (folder / name).read_bytes() for name in ("finding-1.png", "accuracy-costs.png")
    }
    assert write_report(folder, "small").read_text("utf-8") == first
    assert all((folder / name).read_bytes() == content for name, content in pictures.items())
    for comparison in FINDINGS[0].comparisons:
        assert comparison.text in first
    assert "same sign, resolved" in first and "a blank picture" in first


def test_results_of_other_questions_are_not_mixed(folder: Path) -> None:
    with pytest.raises(ValueError, match="has other questions"):
        arm_files.write_questions(folder, {"test": ITEMS[:5], "validation": ITEMS})


def test_a_file_that_is_no_arms_is_named(folder: Path) -> None:
    (folder / "arms" / "ar-full-0.json").write_text("{}")
    with pytest.raises(ValueError, match=r"ar-full-0\.json is no result"):
        Laboratory.open(folder, "small")
