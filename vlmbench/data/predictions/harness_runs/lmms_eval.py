"""lmms-eval's folders: DATE_results.json beside DATE_samples_TASK.jsonl (0.3 to 0.7.3).

Samples are logged with `--log_samples`; a folder without them has numbers only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlmbench.data.predictions import own_lines, read
from vlmbench.data.predictions.harness_runs.found import HarnessRun, HarnessTask, Skipped, number
from vlmbench.errors import VlmbenchError

SPLITS = {
    "vqav2_val": "vqav2@validation",
    "textvqa_val": "textvqa@validation",
    "docvqa_val": "docvqa@validation",
    "mmmu_val": "mmmu@validation",
    "mmmu_val_group_img": "mmmu@validation",
    "mmmu_val_qwen": "mmmu@validation",
    "mmmu_test": "mmmu@test",
    "mathvista_testmini": "mathvista@testmini",
    "mathvista_testmini_cot": "mathvista@testmini",
    "mathvista_testmini_format": "mathvista@testmini",
    "mathvista_testmini_solution": "mathvista@testmini",
    "mmbench_en_dev": "mmbench@dev-en",
    "mmbench_en_dev_static": "mmbench@dev-en",
    "mmbench_cn_dev": "mmbench@dev-cn",
}
"""Its tasks to our splits. The "lite" ones are of another data set, with other row numbers."""

METRICS = {
    "vqav2": (("exact_match",), 100),
    "textvqa": (("exact_match",), 100),
    "docvqa": (("anls",), 100),
    "mmmu": (("mmmu_acc",), 100),
    "mathvista": (("llm_as_judge_eval", "gpt_eval_score"), 1),
    "mmbench": (("gpt_eval_score", "static_eval_score"), 1),
}
"""The names that the score has had, and what makes percent of it."""

SAMPLES = re.compile(r"(?:(?P<date>.+)_)?samples_(?P<task>.+)\.jsonl")
RESULTS = re.compile(r"(?:(?P<date>.+)_)?results\.json")
UNKNOWN = "unknown@unknown"
"""What it writes for its version where it does not run from a git checkout."""

SECRET = re.compile("key|token|secret|password", re.IGNORECASE)


def runs(files: Sequence[Path]) -> Iterator[HarnessRun | Skipped]:
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    documents: dict[tuple[Path, str], Mapping[str, Any]] = {}
    damaged: set[tuple[Path, str]] = set()
    for path in files:
        if found := SAMPLES.fullmatch(path.name):
            key = (path.parent, found["date"] or "")
            groups.setdefault(key, {})[found["task"]] = path
        elif found := RESULTS.fullmatch(path.name):
            key = (path.parent, found["date"] or "")
            try:
                document = _results(path)
            except VlmbenchError as error:
                yield Skipped(str(path.parent), f"{error}; remove it to take the samples alone")
                damaged.add(key)
                continue
            if document:
                documents[key] = document
    for key in sorted((groups.keys() | documents.keys()) - damaged):
        yield from _run(*key, documents.get(key, {}), groups.get(key, {}))


def _run(
    folder: Path, date: str, document: Mapping[str, Any], samples: Mapping[str, Path]
) -> Iterator[HarnessRun | Skipped]:
    config = _mapping(document, "config")
    model = document.get("model_name") or config.get("model") or folder.name
    version = str(document.get("lmms_eval_version") or "")
    tasks = []
    for name in sorted({*samples, *_mapping(document, "results")}):
        if name not in SPLITS:
            yield Skipped(f"{name} of {folder}", "there is no such split here")
        elif name not in samples:
            yield Skipped(f"{name} of {folder}", "no samples are logged (--log_samples)")
        else:
            try:
                tasks.append(_task(name, samples[name], document))
            except VlmbenchError as error:
                yield Skipped(f"{name} of {folder}", str(error))
    if tasks:
        yield HarnessRun(
            harness="lmms-eval",
            version="" if version == UNKNOWN else version,
            model=str(model),
            date=str(document.get("date") or date),
            folder=folder,
            tasks=tuple(tasks),
            settings={
                "model": config.get("model"),
                "model_args": _without_secrets(config.get("model_args")),
                "git_hash": document.get("git_hash"),
                "batch_size": config.get("batch_size"),
                "limit": config.get("limit"),
            },
        )


def _task(name: str, samples: Path, document: Mapping[str, Any]) -> HarnessTask:
    task = SPLITS[name].partition("@")[0]
    metrics, percent = METRICS[task]
    scores = {
        key.split(",")[0]: value
        for key, value in _mapping(_mapping(document, "results"), name).items()
    }
    metric = next((found for found in metrics if found in scores), metrics[0])
    score = number(scores.get(metric))
    config = _mapping(_mapping(document, "configs"), name)
    asked = _mapping(config, "lmms_eval_specific_kwargs")
    shots = _mapping(document, "n-shot").get(name) or config.get("num_fewshot")
    return HarnessTask(
        name=name,
        spec=SPLITS[name],
        predictions=samples,
        reported=None if score is None else percent * score,
        metric=metric,
        values=_values(samples, task, metric),
        shots=shots if isinstance(shots, int) else 0,
        has_ocr=bool(asked.get("ocr") or _mapping(asked, "default").get("ocr")),
        settings={
            "generation": config.get("generation_kwargs"),
            "prompt": dict(asked),
            "version": _mapping(document, "versions").get(name),
        },
    )


def _values(path: Path, task: str, metric: str) -> dict[str, float]:
    lines = zip(read(path, task).lines, own_lines.records(path), strict=True)
    values = {line.key: _credit(record.get(metric)) for line, (_, record) in lines}
    return {key: value for key, value in values.items() if value is not None}


def _credit(logged: Any) -> float | None:
    """What the harness gave for a sample; None where that is known of the whole only."""
    if isinstance(logged, bool | int | float):
        return number(logged)
    if not isinstance(logged, Mapping):
        return None
    if "true_false" in logged:  # MathVista
        return float(bool(logged["true_false"]))
    if logged.get("question_type") == "multiple-choice" and "parsed_pred" in logged:  # MMMU
        parsed = logged["parsed_pred"]
        return float((parsed[0] if isinstance(parsed, list) else parsed) == logged.get("answer"))
    return None


def _results(path: Path) -> Mapping[str, Any] | None:
    """None for a file of that name that is something else's."""
    try:
        # NaN and Infinity, which it writes for what it cannot compute, are unknown figures
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError) as error:
        raise VlmbenchError(f"cannot read {path}: {error}") from None
    is_ours = isinstance(document, Mapping) and isinstance(document.get("results"), Mapping)
    return document if is_ours else None


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def _without_secrets(arguments: Any) -> Any:
    if isinstance(arguments, Mapping):
        return {key: value for key, value in arguments.items() if not SECRET.search(str(key))}
    if isinstance(arguments, str):
        parts = arguments.split(",")
        return ",".join(part for part in parts if not SECRET.search(part.partition("=")[0]))
    return None
