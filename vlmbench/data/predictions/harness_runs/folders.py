"""Finds the runs in a result folder, whichever harness wrote it."""

from __future__ import annotations

from pathlib import Path

from vlmbench.data.predictions.harness_runs import lmms_eval, vlmevalkit
from vlmbench.data.predictions.harness_runs.found import HarnessRun, Skipped
from vlmbench.errors import VlmbenchError

EXPECTED = (
    "expected lmms-eval's *_results.json and *_samples_TASK.jsonl, or VLMEvalKit's "
    "MODEL_DATASET.xlsx, .tsv or .json"
)


def find(folder: Path) -> tuple[list[HarnessRun], list[Skipped]]:
    """All runs in a folder and the folders in it, and the tasks that have no counterpart here.

    Raises: VlmbenchError where there is no such folder, or nothing of either harness in it.
    """
    if not folder.is_dir():
        raise VlmbenchError(f"no folder {folder}; {EXPECTED}")
    paths = sorted({path.resolve(): path for path in folder.rglob("*") if path.is_file()}.items())
    files = [real for real, _ in paths]  # VLMEvalKit links its latest files from the folder above
    found = [*lmms_eval.runs(files), *vlmevalkit.runs(files)]
    runs = [run for run in found if isinstance(run, HarnessRun)]
    skipped = [one for one in found if isinstance(one, Skipped)]
    if not found:
        raise VlmbenchError(f"{folder} holds no results of another harness; {EXPECTED}")
    return runs, skipped
