"""A run in the format of Every Eval Ever 0.3.0 (arXiv 2606.14516): scores, and every sample.

Each task is an aggregate, UUID.json, and UUID_samples.jsonl beside it, at the paths of the shared
datastore: data/TASK@SPLIT/ORGANISATION/MODEL/.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from vlmbench import files
from vlmbench.errors import VlmbenchError
from vlmbench.metrics.intervals import precision
from vlmbench.reports.every_eval_ever.samples import records, samples_of
from vlmbench.reports.model_card import (
    HUB_ID,
    Published,
    is_of_hub,
    metric_name,
    published,
    scored_tasks,
)
from vlmbench.runs.folder.finished import FinishedRun, FinishedTask
from vlmbench.schema import Profile

VERSION = "0.3.0"
LOCAL = ("idefics2", "transformers")
"""Backends that hold the weights themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who publishes the run, and where its data is."""

    model: str = ""
    """`ORGANISATION/MODEL`; empty: the hub's name that the run was given."""

    organisation: str = ""
    url: str = ""
    data_dir: Path | None = None
    tasks_dir: Path | None = None


def write(
    run: FinishedRun,
    folder: Path,
    origin: Origin,
    *,
    tasks: Sequence[str] = (),
    profile: Profile = "official",
    allow_part: bool = False,
) -> list[Path]:
    """Write the run below `folder`; the paths of the aggregates.

    The same run gets the same names again. Questions and right answers are read from the data set.

    Raises: VlmbenchError as `model_card.model_index`; where the model has no name of the form
    `ORGANISATION/MODEL`; and where the data set is not at hand, or lacks a sample.
    """
    model = _model(run, origin)
    return [
        _write(run, task, model, folder, origin, profile, published(task, profile, allow_part))
        for task in scored_tasks(run, tasks)
    ]


def _model(run: FinishedRun, origin: Origin) -> str:
    name = origin.model or run.model.partition(":")[2].rpartition("#")[2]
    if not HUB_ID.fullmatch(name):
        raise VlmbenchError(
            f"the format names a model as ORGANISATION/MODEL, which {name!r} is not; give --name"
        )
    return name


def _write(
    run: FinishedRun,
    task: FinishedTask,
    model: str,
    folder: Path,
    origin: Origin,
    profile: Profile,
    score: Published,
) -> Path:
    samples = samples_of(task, origin.data_dir, origin.tasks_dir)
    ended = _seconds(run)
    evaluation = f"{task.name}/{model}/{ended or 'unknown'}"
    digest = hashlib.sha256(f"{evaluation} {profile}".encode())
    assert task.scores_file is not None
    with files.opened(task.scores_file) as scores:
        digest.update(scores.read())
    name = str(uuid.UUID(bytes=digest.digest()[:16], version=4))
    place = Path("data", task.name, *model.split("/"))
    (folder / place).mkdir(parents=True, exist_ok=True)
    checksum, num_rows = hashlib.sha256(), 0
    path = folder / place / f"{name}_samples.jsonl"
    with files.writing(path), path.open("wb") as file:
        for record in records(task, samples, profile):
            line = files.encode(
                {
                    "schema_version": VERSION,
                    "evaluation_id": evaluation,
                    "model_id": model,
                    "evaluation_name": task.name,
                    "evaluation_result_id": _result_id(task, profile),
                }
                | record
            )
            file.write(line)
            checksum.update(line)
            num_rows += 1
    document = {
        "schema_version": VERSION,
        "evaluation_id": evaluation,
        **({"evaluation_timestamp": str(ended)} if ended else {}),
        "retrieved_timestamp": str(int(time.time())),
        "source_metadata": {
            "source_name": "vlmbench",
            "source_type": "evaluation_run",
            "source_organization_name": origin.organisation or "unknown",
            **({"source_organization_url": origin.url} if origin.url else {}),
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": "vlmbench", "version": run.manifest.vlmbench},
        "model_info": _model_info(run, model),
        "evaluation_results": [_result(run, task, profile, score)],
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": (place / path.name).as_posix(),
            "hash_algorithm": "sha256",
            "checksum": checksum.hexdigest(),
            "total_rows": num_rows,
        },
    }
    aggregate = path.with_name(f"{name}.json")
    files.put(json.dumps(document, indent=1) + "\n", aggregate)
    return aggregate


def _seconds(run: FinishedRun) -> int | None:
    """When the run ended, in seconds since 1970."""
    ended = run.manifest.finished
    try:
        return int(datetime.fromisoformat(ended).timestamp()) if ended else None
    except ValueError:  # another harness's way to write a date
        return None


def _model_info(run: FinishedRun, model: str) -> dict[str, Any]:
    backend = run.model.partition(":")[0]
    is_local = backend in LOCAL
    details = {
        "deployment_type": "self_deployed" if is_local else "unknown",
        "model_availability": "open_weights" if is_local and model in run.model else "unknown",
        "spec": run.title,
    }
    if revision := run.manifest.model.get("revision"):
        details["revision"] = str(revision)
    return {
        "name": model.partition("/")[2],
        "id": model,
        "developer": model.partition("/")[0],
        "inference_engine": {"name": backend, "version": run.manifest.vlmbench},
        "additional_details": details,
    }


def _result_id(task: FinishedTask, profile: Profile) -> str:
    return f"{task.name}:{task.metric}:{profile}"


def _result(
    run: FinishedRun, task: FinishedTask, profile: Profile, score: Published
) -> dict[str, Any]:
    shown, generation = score.estimate, run.manifest.generation
    asked = {name: generation.get(name) for name in ("temperature", "top_p")}
    arguments: dict[str, Any] = {name: one for name, one in asked.items() if one is not None}
    if task.prompt.max_new_tokens is not None:
        arguments["max_tokens"] = task.prompt.max_new_tokens
    return {
        "evaluation_result_id": _result_id(task, profile),
        "evaluation_name": task.name,
        "source_data": _source(task),
        "metric_config": {
            "evaluation_description": metric_name(task, profile, score),
            "metric_id": task.metric,
            "metric_name": task.metric.replace("_", " "),
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
            "additional_details": {
                "is_correct": "full credit",
                "failed samples": "score 0 with an error; the aggregate leaves them out",
                "rotated options": "a sample's score is its own row's; circular_score in its "
                "metadata is the question's, which the aggregate counts",
            },
        },
        "score_details": {
            "score": shown.mean,
            "details": {
                "failed": str(score.summary.failed),
                "unparsed": str(score.summary.unparsed),
                "samples": str(score.summary.num_rows),
            },
            "uncertainty": {
                **_standard_error(task, profile),
                "confidence_interval": {
                    "lower": shown.low,
                    "upper": shown.high,
                    "confidence_level": 0.95,
                    "method": "Wilson's, at the effective size of samples clustered by picture",
                },
                "num_samples": shown.n,
            },
        },
        "generation_config": {
            "generation_args": arguments,
            "additional_details": {
                "prompt_style": task.prompt_style,
                "shots": str(task.prompt.shots),
                "task_version": str(task.version),
            },
        },
    }


def _standard_error(task: FinishedTask, profile: Profile) -> dict[str, Any]:
    numbers: dict[str, int] = {}
    counted = [
        (value, numbers.setdefault(one.cluster, len(numbers)))
        for one in task.scores()
        if (value := one.profiles.get(profile)) is not None
    ]
    values = np.array([value for value, _ in counted])
    found = precision(values, np.array([cluster for _, cluster in counted], dtype=np.int64))
    if not math.isfinite(found.variance):  # of one cluster nothing is known
        return {}
    return {
        "standard_error": {"value": math.sqrt(found.variance), "method": "cluster-robust"},
        "standard_deviation": float(values.std()),
    }


def _source(task: FinishedTask) -> dict[str, Any]:
    details = {"rows": str(task.num_rows)}
    if is_of_hub(task):
        return {
            "dataset_name": task.task,
            "source_type": "hf_dataset",
            "hf_repo": task.data.source,
            "hf_split": task.split,
            "samples_number": task.num_rows,
            "additional_details": details | {"revision": task.data.revision},
        }
    if task.is_mini:
        details["note"] = "embedded stand-in, not the benchmark"
    return {"dataset_name": task.name, "source_type": "other", "additional_details": details}
