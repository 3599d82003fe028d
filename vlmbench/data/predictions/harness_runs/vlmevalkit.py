"""VLMEvalKit's folders: MODEL/T<day>_G<commit>/MODEL_DATASET.xlsx and MODEL_DATASET_acc.csv."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmbench.data.predictions import sheets
from vlmbench.data.predictions.harness_runs.found import HarnessRun, HarnessTask, Skipped, number
from vlmbench.data.predictions.vlmevalkit import ID_COLUMNS
from vlmbench.errors import VlmbenchError


@dataclass(frozen=True, slots=True)
class DataSet:
    specs: tuple[str, ...]
    """Our splits that its rows belong to."""

    percent: int
    """What makes percent of the score in its csv file."""


DATA_SETS = {
    "TextVQA_VAL": DataSet(("textvqa@validation",), 1),
    "DocVQA_VAL": DataSet(("docvqa@validation",), 1),
    "MMMU_DEV_VAL": DataSet(("mmmu@validation", "mmmu@dev"), 100),
    "MMMU_TEST": DataSet(("mmmu@test",), 100),
    "MathVista_MINI": DataSet(("mathvista@testmini",), 1),
    "MMBench_DEV_EN": DataSet(("mmbench@dev-en",), 100),
    "MMBench_DEV_CN": DataSet(("mmbench@dev-cn",), 100),
    "MMBench_DEV_EN_V11": DataSet(("mmbench@dev-en-v1.1",), 100),
    "MMBench_TEST_EN": DataSet(("mmbench@test-en",), 100),
    "MMBench_TEST_EN_V11": DataSet(("mmbench@test-en-v1.1",), 100),
}
SUFFIXES = (".xlsx", ".tsv", ".json")
EVALUATION = re.compile(r"T(?P<date>\d{8})_G(?P<commit>[0-9a-f]+)")
DETAILS = ("_result", "_results")
"""How the names of its files with a verdict a row end; a judge's name may stand before that."""


def runs(files: Sequence[Path]) -> Iterator[HarnessRun | Skipped]:
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in files:
        named = _named(path)
        if named:
            model, data_set = named
            groups.setdefault((path.parent, model), {}).setdefault(data_set, path)
    for (folder, model), found in sorted(groups.items()):
        evaluation = EVALUATION.fullmatch(folder.name)
        tasks: list[HarnessTask] = []
        for name, path in found.items():
            try:
                tasks += _tasks(name, path)
            except VlmbenchError as error:
                yield Skipped(f"{name} of {folder}", str(error))
        if not tasks:
            continue
        yield HarnessRun(
            harness="VLMEvalKit",
            version=f"commit {evaluation['commit']}" if evaluation else "",
            model=model,
            date=evaluation["date"] if evaluation else "",
            folder=folder,
            tasks=tuple(tasks),
        )


def _named(path: Path) -> tuple[str, str] | None:
    """Model and data set that a prediction file is named after."""
    if path.suffix not in SUFFIXES:
        return None
    for name in DATA_SETS:
        if path.stem.endswith(f"_{name}"):
            return path.stem.removesuffix(f"_{name}"), name
    return None


def _tasks(name: str, path: Path) -> Iterator[HarnessTask]:
    data_set = DATA_SETS[name]
    task = data_set.specs[0].partition("@")[0]
    judged = _judged(path) if task == "mathvista" else None
    stem = (judged or path).stem
    values = _values(path, task)
    for spec in data_set.specs:
        split = spec.partition("@")[2].partition("-")[0]
        score, metric = _score(path.parent / f"{stem}_{'score' if judged else 'acc'}.csv", split)
        yield HarnessTask(
            name=name,
            spec=spec,
            predictions=judged or path,
            reported=None if score is None else data_set.percent * score,
            metric=metric,
            values=values,
            settings={"judge": judged.stem.removeprefix(f"{path.stem}_")} if judged else {},
        )


def _judged(path: Path) -> Path | None:
    """MathVista's sheet with the answers that a judge extracted, which are what was scored."""
    for found in sorted(path.parent.glob(f"{path.stem}_*.xlsx")):
        if (path.parent / f"{found.stem}_score.csv").is_file():
            return found
    return None


def _score(path: Path, split: str) -> tuple[float | None, str]:
    """The overall score of a split in a csv file, and its column there."""
    if not path.is_file():
        return None, ""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise VlmbenchError(f"cannot read {path}: {error}") from None
    for row in rows:
        if row.get("Task&Skill") == "Overall":
            return number(row.get("acc")), "acc"
        if "Overall" in row and row.get("split", split) in (split, "none"):
            return number(row["Overall"]), "Overall"
    return None, ""


def _values(path: Path, task: str) -> dict[str, float]:
    """Verdicts by the id in the file, where its file with one a row is there."""
    details = [
        found
        for found in sorted(path.parent.glob(f"{path.stem}_*.*"))
        if found.stem.endswith(DETAILS) and found.suffix in (".xlsx", ".tsv")
    ]
    if not details:
        return {}
    sheet = (sheets.read_xlsx if details[0].suffix == ".xlsx" else sheets.read_tsv)(details[0])
    verdict = next((name for name in ("hit", "eval_score") if name in sheet.columns), None)
    id = next((name for name in ID_COLUMNS[task] if name in sheet.columns), None)
    if verdict is None or id is None:
        return {}
    found = ((_key(cells[id]), number(cells.get(verdict))) for _, cells in sheet.rows)
    return {key: value for key, value in found if value is not None}


def _key(id: Any) -> str:
    return str(int(id)) if isinstance(id, float) and id.is_integer() else str(id)
