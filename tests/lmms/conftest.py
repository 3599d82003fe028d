"""lmms-eval in processes of its own, on a task of a few documents in a local parquet file."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

NEEDED = ("lmms_eval", "loguru", "pytz", "tenacity", "sacrebleu", "dotenv", "openai", "Levenshtein")
"""What its evaluator imports; this suite's other tests need none of it."""

START = """
import sys, torch
operators = torch.library.Library("torchvision", "DEF")  # no torchvision of this torch is here
operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import runpy
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""

SEVERAL = """
import contextlib, io, json, sys, torch
operators = torch.library.Library("torchvision", "DEF")
operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from vlmbench.cli.main import main
found = []
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        found.append((main(command), errors.getvalue()))
print(json.dumps(found))
"""

YAML = """
task: tiny_vqa
dataset_path: parquet
dataset_kwargs:
  data_files:
    validation: {data}
test_split: validation
output_type: generate_until
doc_to_visual: !function scorer.show
doc_to_text: !function scorer.ask
doc_to_target: answer
generation_kwargs:
  max_new_tokens: 6
  temperature: 0
  do_sample: false
  until: ["zzz"]
process_results: !function scorer.process
metric_list:
  - metric: share
    aggregation: mean
    higher_is_better: true
  - metric: longest
    aggregation: !function scorer.longest
    higher_is_better: true
"""

SCORER = """
def show(doc):
    return [doc[name].convert("RGB") for name in ("image", "second") if doc[name] is not None]


def ask(doc):
    return doc["question"] + " Answer briefly."


def process(doc, results):
    letters = set(results[0])
    gold = set(doc["answer"])
    return {"share": len(letters & gold) / len(gold), "longest": results[0]}


def longest(answers):
    return max(map(len, answers))
"""

CHOICES = """
task: tiny_choice
dataset_path: parquet
dataset_kwargs:
  data_files:
    validation: {data}
test_split: validation
output_type: multiple_choice
doc_to_visual: !function scorer.show
doc_to_text: !function scorer.ask
doc_to_target: label
doc_to_choice: ["yes", "no", "a big dog"]
metric_list:
  - metric: acc
  - metric: acc_norm
"""

JUDGED = """
task: tiny_judged
include: tiny_vqa.yaml
process_results: !function judged.process
metric_list:
  - metric: share
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="session")
def needs_lmms_eval() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"lmms-eval cannot be imported here: no {', '.join(missing)}")


@pytest.fixture(scope="session")
def tasks_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five documents: one picture, two, or none."""
    import datasets
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("lmms tasks")
    rng = np.random.default_rng(0)

    def picture(number: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, (24 + 4 * number, 40, 3), dtype=np.uint8))

    rows: list[dict[str, Any]] = []
    for number in range(5):
        rows.append(
            {
                "question": f"What is number {number}?",
                "answer": "abcdefgh ijklmnop",
                "label": number % 3,
                "image": None if number == 3 else picture(number),
                "second": picture(number + 1) if number == 1 else None,
            }
        )
    kinds = {"question": "string", "answer": "string", "label": "int64"}
    features = datasets.Features({name: datasets.Value(kind) for name, kind in kinds.items()})
    features |= {"image": datasets.Image(), "second": datasets.Image()}
    data = folder / "tiny.parquet"
    datasets.Dataset.from_list(rows, features=datasets.Features(features)).to_parquet(data)
    (folder / "tiny_vqa.yaml").write_text(YAML.format(data=data))
    (folder / "tiny_choice.yaml").write_text(CHOICES.format(data=data))
    (folder / "tiny_judged.yaml").write_text(JUDGED)
    (folder / "scorer.py").write_text(SCORER)
    (folder / "judged.py").write_text(
        "def process(doc, results):\n    return grade(results[0])\n\n\n"
        "def grade(text):\n    import openai\n\n"
        "    return openai.OpenAI().chat.completions.create(messages=[text])\n"
    )
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights."""
    import torch

    from idefics2.weights import save_model

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
        random_model = importlib.import_module("random_model")
    folder = tmp_path_factory.mktemp("random")
    config = random_model.config_of("tiny")
    random_model.write_folder(config, folder, random_model.SCALES["tiny"])
    save_model(random_model.ours(config, "cpu", torch.float32), folder)
    return folder


class Harness:
    """Starts modules with our entry point installed and torchvision's operators declared."""

    def __init__(self, site: Path) -> None:
        package = site / "vlmbench_models-1.0.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: vlmbench-models\nVersion: 1\n"
        )
        (package / "entry_points.txt").write_text(
            "[lmms_eval.models]\nvlmbench = vlmbench.lmms.registration:manifests\n"
        )
        path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
        self.environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def run(self, module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", START, module, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=600,
        )

    def refusals(self, commands: Sequence[Sequence[str | Path]]) -> list[tuple[int, str]]:
        """Exit code and stderr of several commands of ours, in one process: imports are slow."""
        given = json.dumps([list(map(str, command)) for command in commands])
        done = subprocess.run(
            [sys.executable, "-c", SEVERAL, given],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found: list[tuple[int, str]] = json.loads(done.stdout.splitlines()[-1])
        return found

    def lmms_eval(self, out: Path, model: Path, tasks: str, include: Path, *more: str) -> Any:
        """Results and samples by task, as lmms-eval writes them."""
        done = self.run(
            "lmms_eval",
            *("--model", "vlmbench", "--model_args", f"pretrained=idefics2:{model}"),
            *("--tasks", tasks, "--include_path", str(include), "--device", "cpu"),
            *("--output_path", str(out), "--log_samples", *more),
        )
        results = list(out.rglob("*_results.json"))
        assert len(results) == 1, done.stdout[-2000:] + done.stderr[-4000:]
        samples = {}
        for path in out.rglob("*_samples_*.jsonl"):
            name = path.stem.partition("_samples_")[2]
            samples[name] = [json.loads(line) for line in path.read_text().splitlines()]
        return json.loads(results[0].read_text())["results"], samples


@pytest.fixture(scope="session")
def harness(needs_lmms_eval: None, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("lmms site"))
