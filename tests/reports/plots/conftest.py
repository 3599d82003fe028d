"""Two runs with made-up timings and visual tokens, which a replay backend takes from a log."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlmbench
from vlmbench.cli.main import main
from vlmbench.runs.folder import single_stream
from vlmbench.runs.folder.costs import Place
from vlmbench.runs.folder.finished import open_run
from vlmbench.schema import Response

EXAMPLES = Path(__file__).parents[3] / "results" / "examples"
TASKS = ("textvqa@validation", "mmmu@validation", "mathvista@testmini", "mmbench@dev-en")


def _log(folder: Path, visual_tokens: int, seconds: float, share_right: float) -> Path:
    folder.mkdir()
    draw = random.Random(folder.name)
    records = [
        {
            "task": name,
            "id": str(line["id"]),
            "response": line["response"] if draw.random() < share_right else "xyz",
            "visual_tokens": visual_tokens,
            "prompt_tokens": visual_tokens + 40,
            "generated_tokens": 5,
            "timings": {"total_s": seconds * draw.lognormvariate(0, 0.5)},
        }
        for name in TASKS
        for line in map(
            json.loads, (EXAMPLES / f"{name.split('@')[0]}.jsonl").read_text("utf-8").splitlines()
        )
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "responses-0.jsonl").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory, hub_copies: Path) -> list[Path]:
    """Folders of runs: five crops, slow and good; one crop, quick and worse; latency measured."""
    root = tmp_path_factory.mktemp("plots")
    folders = []
    for name, tokens, seconds, share in (("five", 320, 1.1, 0.95), ("one", 64, 0.35, 0.6)):
        log = _log(root / f"log-{name}", tokens, seconds, share)
        folders.append(root / name)
        vlmbench.evaluate(f"replay:{log}", list(TASKS), out=folders[-1], data_dir=hub_copies)
        _measure_alone(folders[-1], seconds)
    return folders


def _measure_alone(folder: Path, seconds: float) -> None:
    """Latencies of all samples, as of requests that were asked one at a time."""
    draw = random.Random(folder.name)
    for task in open_run(folder).tasks:
        for record in task.responses():
            line = single_stream.encoded(
                task.name,
                record.id,
                Response(id=record.id, text=record.response, finish_reason="stop"),
                latency_s=seconds * draw.lognormvariate(0, 0.5),
                place=Place(device="cpu"),
                peak_device_memory_bytes=None,
                prompt=record.prompt,
                worker="0",
                time=0.0,
            )
            single_stream.append(folder, line)


@pytest.fixture(scope="session")
def bare_run(tmp_path_factory: pytest.TempPathFactory, hub_copies: Path) -> Path:
    """A run whose backend knows neither times nor tokens."""
    folder = tmp_path_factory.mktemp("bare") / "run"
    vlmbench.evaluate("constant:A", "textvqa", out=folder, data_dir=hub_copies)
    return folder


@pytest.fixture(scope="session")
def training_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages, with evaluations."""
    path = tmp_path_factory.mktemp("log") / "training" / "log.jsonl"
    path.parent.mkdir()
    lines: list[dict[str, Any]] = []
    for stage, num_steps in (("align", 40), ("chat", 60)):
        for step in range(2, num_steps + 1, 2):
            where = {"kind": "train", "stage": stage, "step": step}
            lines.append(where | {"loss": 4 / step + 0.5, "lr": 1e-4 * (1 - step / 100)})
        scores = {"vqav2@mini": 0.4 + num_steps / 200, "docvqa@mini": 0.2}
        where = {"kind": "evaluation", "stage": stage, "step": num_steps}
        lines.append(where | {"scores": scores})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def plot(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[Path], str]]:
    """A function: words after `vlmbench plot` -> exit code, files, stderr."""

    def run(*words: object) -> tuple[int, list[Path], str]:
        code = main(["plot", *(str(word) for word in words)])
        captured = capsys.readouterr()
        return code, [Path(line) for line in captured.out.splitlines()], captured.err

    return run
