"""`--track`: figures reach a tracker, and one that fails costs nothing but a warning."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.cli.main import main
from vlmbench.errors import VlmbenchError
from vlmbench.reports import tracking
from vlmbench.reports.tracking import Tracking

needs_tensorboard = pytest.mark.skipif(
    not importlib.util.find_spec("tensorboard"), reason="tensorboard is not installed"
)
LOG = [
    {"kind": "train", "stage": "one", "step": 5, "loss": 2.0, "by_source": {"vqa": 2.5}, "lr": 0.1},
    {"kind": "evaluation", "stage": "one", "step": 5, "scores": {"vqav2": 0.5}},
    {"kind": "train", "stage": "two", "step": 5, "loss": 1.0, "by_source": {"vqa": 1.5}, "lr": 0.2},
]


class Recorded:
    """Stands in for a tracker."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.num_finished = 0

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.num_finished += 1


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    tracker = Recorded()
    monkeypatch.setattr(tracking, "_open", lambda *_: tracker)
    monkeypatch.setattr(tracking, "POLL_S", 0.01)
    return tracker


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, hub_copies: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "yes"
    vlmbench.evaluate("constant:yes", "vqav2", out=folder, data_dir=hub_copies)
    return folder


def test_a_runs_scores_and_costs_are_sent_once(run: Path, recorded: Recorded) -> None:
    tracking.track_run(Tracking("trackio", "p"), run)
    ((step, values),) = recorded.logged
    assert step == 0 and recorded.num_finished == 1
    assert values["vqav2@validation/failed"] == 0
    assert 0 <= values["vqav2@validation/official/score"] <= 100
    assert values["vqav2@validation/costs.truncated"] == 0


def test_a_trainings_lines_are_sent_in_one_line_of_steps(
    tmp_path: Path, recorded: Recorded
) -> None:
    log = tmp_path / "log.jsonl"
    with tracking.following(Tracking("trackio", "p"), log):
        for record in LOG:
            with log.open("a") as file:
                file.write(json.dumps(record) + "\n")
    assert [step for step, _ in recorded.logged] == [5, 5, 10]
    assert recorded.logged[0][1] == {"loss": 2.0, "by_source/vqa": 2.5, "lr": 0.1}
    assert recorded.logged[1][1] == {"scores/vqav2": 0.5}
    assert recorded.num_finished == 1


def test_without_a_tracker_nothing_is_read(tmp_path: Path, recorded: Recorded) -> None:
    with tracking.following(None, tmp_path / "log.jsonl"):
        pass
    assert not recorded.logged


@needs_tensorboard
def test_a_failing_tracker_leaves_the_run_and_its_exit_code_as_they_are(
    tmp_path: Path,
    hub_copies: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tracking, "_open", fail)
    command = ["run", "--model", "constant:yes", "--tasks", "vqav2", "--limit", "2"]
    command += ["--data-dir", str(hub_copies), "--out", str(tmp_path / "run")]
    assert main([*command, "--track", "tensorboard"]) == 0
    printed = capsys.readouterr()
    assert "warning: tensorboard failed (ConnectionError: no route)" in printed.err
    assert "vqav2@validation" in printed.out


@needs_tensorboard
@pytest.mark.filterwarnings("ignore")  # tensorboard's own
def test_tensorboard_has_the_scores(run: Path, tmp_path: Path) -> None:
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulator: Any = importlib.import_module(module)
    tracking.track_run(Tracking("tensorboard", str(tmp_path / "board")), run)
    events = accumulator.EventAccumulator(str(tmp_path / "board" / run.name))
    events.Reload()
    (score,) = events.Scalars("vqav2@validation/official/score")
    scores = [json.loads(line) for line in (run / "scores-vqav2@validation.jsonl").open()]
    mean = 100 * sum(one["profiles"]["official"] for one in scores) / len(scores)
    assert score.value == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("tensorbord", "did you mean tensorboard"),
        ("tensorboard:", "no project"),
        ("mlflow", "no tracker named 'mlflow'"),
    ],
)
def test_a_wrong_tracker_is_one_line_before_anything_runs(
    spec: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["run", "--model", "constant:yes", "--tasks", "vqav2", "--out", str(out)]
    assert main([*command, "--track", spec]) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name)
    )
    with pytest.raises(VlmbenchError, match="pip install wandb"):
        tracking.parse("wandb:team")


def test_importing_it_loads_no_tracker() -> None:
    import subprocess

    code = (
        "import sys, vlmbench.reports.tracking; print({'accelerate', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
