"""What is drawn: fronts, distributions, baselines that may stand beside a run, training logs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlmbench.errors import VlmbenchError
from vlmbench.reports.board.baselines import Reported, System
from vlmbench.reports.plots import (
    Skipped,
    figures,
    latency,
    read_log,
    series,
    style,
    ticks,
    training,
)
from vlmbench.reports.plots import front as pareto
from vlmbench.reports.plots import points as points_of
from vlmbench.runs.folder.finished import open_run

Plot = Callable[..., tuple[int, list[Path], str]]


@pytest.mark.parametrize(
    ("points", "front"),
    [
        pytest.param([(1, 5), (2, 4), (3, 6)], [(1, 5), (3, 6)], id="dominated"),
        pytest.param([(2, 5), (1, 5)], [(1, 5)], id="same score, cheaper"),
        pytest.param([(1, 4), (1, 5)], [(1, 5)], id="same cost, better"),
        pytest.param([(3, 9), (2, 8), (1, 7)], [(1, 7), (2, 8), (3, 9)], id="all"),
        pytest.param([], [], id="none"),
    ],
)
def test_the_front_is_what_nothing_beats_in_both(
    points: list[tuple[float, float]], front: list[tuple[float, float]]
) -> None:
    assert pareto.pareto_front(points) == front


def test_a_run_is_on_the_front_in_so_many_draws() -> None:
    """Two equal runs, one far worse at any cost, one dearer and better."""
    draw = np.random.default_rng(1)
    scores = np.stack(
        [
            50 + draw.standard_normal(20_000),
            50 + draw.standard_normal(20_000),
            np.full(20_000, 20.0),
            np.full(20_000, 70.0),
        ]
    )
    costs = np.array([[1.0], [1.0], [2.0], [3.0]]) * np.ones(20_000)
    shares = pareto.on_front(scores, costs)
    assert shares[:2] == pytest.approx([0.5, 0.5], abs=0.02)
    assert shares[2:].tolist() == [0.0, 1.0]
    assert pareto.on_front(scores, costs, [(2.5, 80.0)])[3] == 0


def test_the_bootstrap_is_that_of_clusters_and_pairs_the_runs() -> None:
    draw = np.random.default_rng(2)
    values = draw.random(400)
    sums = {str(i): float(values[2 * i] + values[2 * i + 1]) for i in range(200)}
    one = pareto.Clusters(sums, dict.fromkeys(sums, 2))
    better = pareto.Clusters({k: v + 0.2 for k, v in sums.items()}, one.counts)
    found = pareto.bootstrapped([one, better], 2000)
    assert found[0].mean() == pytest.approx(100 * values.mean(), abs=0.2)
    error = 100 * values.reshape(200, 2).mean(1).std() / math.sqrt(200)
    assert found[0].std() == pytest.approx(error, rel=0.1)
    assert (found[1] - found[0]).std() < 1e-9, "the same clusters are drawn for both"


def test_costs_are_drawn_as_wide_as_their_intervals() -> None:
    found = pareto.drawn_costs([(2.0, 1.0, 4.0), (3.0, 3.0, 3.0)], 50_000)
    assert np.percentile(found[0], [2.5, 50, 97.5]) == pytest.approx([1, 2, 4], rel=0.03)
    assert set(found[1]) == {3.0}


def test_the_distribution_steps_at_the_samples() -> None:
    ends, shares = latency.steps(np.array([1.0, 2.0, 4.0, 4.0]))
    assert ends.tolist() == [1, 1, 2, 4, 4]
    assert shares.tolist() == [0, 25, 50, 75, 100]
    many = np.sort(np.random.default_rng(0).exponential(size=20_000))
    ends, shares = latency.steps(many)
    assert len(ends) <= latency.MOST_STEPS + 1
    assert shares[-1] == 100 and ends[-1] == many[-1]
    assert np.interp(50, shares, ends) == pytest.approx(np.median(many), rel=0.01)


def test_the_band_holds_the_whole_curve_in_95_of_100_cases() -> None:
    draw = np.random.default_rng(0)
    n, held = 60, 0
    for _ in range(2000):
        found = np.sort(draw.random(n))
        ranks = np.arange(n)
        distance = max((np.abs(found - ranks / n)).max(), (np.abs(found - (ranks + 1) / n)).max())
        held += distance <= latency.band(n)
    assert 0.94 <= held / 2000 <= 0.975  # it is exact only as n grows; then never below 95 %


@pytest.mark.parametrize(("low", "high"), [(0.04, 3.3), (50, 4000), (0.5, 0.9), (1e-3, 1e4)])
def test_logarithmic_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = ticks.ticks(low, high)
    assert len(found) <= 8
    assert all(low <= tick <= high for tick in found)
    assert found or high / low < 2


RESULT = Reported(
    system="Other-7B",
    task="textvqa",
    split="validation",
    metric="vqa_accuracy",
    score=60.0,
    shots=0,
    is_finetuned=False,
    tokens_per_image=576,
    tokens_per_tile="",
    harness="",
    source=None,
    place="",
    split_is="printed",
    trust="authors",
    is_verified=True,
    note="",
)


def test_only_like_results_stand_beside_runs(bare_run: Path) -> None:
    (one,) = series.series_of([open_run(bare_run)])
    cells = series.by_task([one], "official")["textvqa@validation"]
    unlike = [
        replace(RESULT, split="test"),
        replace(RESULT, split=None),
        replace(RESULT, task="docvqa"),
        replace(RESULT, metric="anls"),
        replace(RESULT, shots=8),
        replace(RESULT, is_finetuned=True, shots=None),
        replace(RESULT, tokens_per_image=None),
        replace(RESULT, is_verified=False),
    ]
    less_trusted = replace(RESULT, trust="competitor", score=61.0)
    system = System(
        name="Other-7B",
        kind="open",
        num_parameters=None,
        note="",
        results=(*unlike, less_trusted, RESULT),
    )
    assert points_of.comparable([system], cells) == [RESULT]


def test_labels_say_what_runs_differ_in(bare_run: Path, two_runs: list[Path]) -> None:
    runs = [open_run(folder) for folder in (bare_run, *two_runs)]
    assert [one.label for one in series.series_of(runs)] == [run.title for run in runs]
    manifest = runs[0].manifest
    shots = replace(manifest, prompt=replace(manifest.prompt, shots=4))
    other = replace(runs[0], manifest=shots, folder=bare_run / "other")
    labels = [one.label for one in series.series_of([runs[0], other])]
    assert labels == ["constant:A, 0 shots", "constant:A, 4 shots"]
    same = replace(runs[0], folder=bare_run / "same")
    labels = [one.label for one in series.series_of([runs[0], same])]
    assert labels == ["constant:A (run)", "constant:A (same)"]


def test_runs_that_cannot_share_a_figure_are_refused(bare_run: Path) -> None:
    run = open_run(bare_run)
    with pytest.raises(VlmbenchError, match="a run is named twice"):
        series.series_of([run, run])
    many = [replace(run, folder=bare_run / str(number)) for number in range(len(style.LOOKS) + 1)]
    (left_out,) = figures(many, ["radar"])
    assert isinstance(left_out, Skipped) and "can tell 8 runs apart" in left_out.reason
    (task,) = run.tasks
    newer = replace(many[0], tasks=(replace(task, data=replace(task.data, version=2)),))
    with pytest.raises(VlmbenchError, match="has version 1 of textvqa@validation and"):
        series.by_task(series.series_of([run, newer]), "official")


def test_a_partial_run_says_so(bare_run: Path) -> None:
    (one,) = series.series_of([open_run(bare_run)])
    (cell,) = series.by_task([one], "official")["textvqa@validation"]
    whole = series.described([(cell, cell.estimate)])  # type: ignore[list-item]  # it has a score
    assert whole == "Version 1, official rules; 95 % intervals, clustered by picture; n = 12."
    record = replace(cell.task.record, num_selected=5, num_failed=2)
    partial = replace(cell, task=replace(cell.task, record=record))
    text = series.described([(partial, cell.estimate)])  # type: ignore[list-item]  # as above
    assert "failed and left out: 2 (constant:A)" in text
    assert "not the whole split: constant:A" in text


def test_stages_follow_one_another(training_log: Path) -> None:
    log = read_log(training_log)
    assert log.label == "training"  # the folder, as every log has one name
    assert log.stages == [("align", 0), ("chat", 40)]
    assert log.steps == list(range(2, 101, 2))
    assert log.scores["vqav2@mini"] == [(40, 0.4 + 0.2), (100, 0.4 + 0.3)]


def test_a_resumed_or_growing_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"step": step, "loss": loss} for step, loss in ((1, 3.0), (2, 9.0), (2, 2.0))]
    lines.append({"step": 3, "loss": float("nan")})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text + '{"step": 4, "lo')
    log = read_log(path)
    assert (log.label, log.steps, log.losses[:2]) == ("a", [1, 2, 3], [3.0, 2.0])
    assert math.isnan(log.losses[2])


def test_the_running_mean_is_centred_and_skips_gaps() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan, 5.0])
    assert training.running_mean(values, 3).tolist() == [1.5, 2.0, 2.5, 4.0, 5.0]
    draw = random.Random(0)
    noisy = np.array([draw.random() for _ in range(50)])
    want = [noisy[max(0, i - 2) : i + 3].mean() for i in range(50)]
    assert training.running_mean(noisy, 5) == pytest.approx(want)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no training steps"),
        ('{"step": 1, "lr": 0.1}\n', "has no training steps"),
        ('{"step": 1, "loss": "x"}\n', ":1: 'loss' is 'x', expected a number"),
        ('{"step": 1, "loss": [2]}\n', ":1: 'loss' is [2], expected a number"),
        ('{"id": "a", "response": "b"}\n', ":1: no step, so no line of a training log"),
        ("[1]\n", ":1: no object of a training log"),
        ('{"step": 1\n{"step": 2}\n', ":1: no JSON"),
    ],
)
def test_a_log_that_is_none_is_one_line(
    plot: Plot, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(content)
    code, files, err = plot("--training", path, "--out", tmp_path)
    assert (code, files, err.count("\n")) == (2, [], 1)
    assert message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to plot: name run folders, or a log with --training"),
        (["--kind", "radar"], "nothing to plot"),
        (["RUN", "--kind", "bars"], "no kind of plot named 'bars'; there are: "),
        (["RUN", "--format", "gif"], "no format named 'gif'"),
        (["RUN", "--kind", "training"], "give --training LOG"),
        (["--training", "x", "--kind", "radar"], "--training has no part in --kind"),
        (["RUN", "--baselines", "Idefix"], "no baseline named 'Idefix'"),
        (["missing"], "holds no run"),
        (["--training", "missing"], "cannot read missing"),
    ],
)
def test_a_mistake_is_one_line(
    plot: Plot, bare_run: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    found = [str(bare_run) if word == "RUN" else word for word in words]
    code, files, err = plot(*found, "--out", tmp_path / "out")
    assert (code, files, err.count("\n")) == (2, [], 1)
    assert message in err


def test_a_folder_that_cannot_be_made_is_one_line(
    plot: Plot, training_log: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    code, _, err = plot("--training", training_log, "--out", tmp_path / "file")
    assert code == 2
    assert "cannot write figures to" in err
