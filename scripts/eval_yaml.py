"""Write the drafts in results/eval_yaml: what registers our data sets as benchmarks of the hub.

    .venv/bin/python scripts/eval_yaml.py

Each belongs, as eval.yaml, at the root of the data set's repository: its owner registers it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vlmbench.data.repositories import Hub
from vlmbench.reports.eval_results import task_id
from vlmbench.task.loading import installed
from vlmbench.task.task import Task

FOLDER = Path(__file__).parents[1] / "results" / "eval_yaml"
TASKS = ("vqav2", "textvqa", "docvqa", "mmmu", "mathvista", "mmbench")


def benchmark(task: Task) -> dict[str, Any]:
    """The draft for the first data set of a task: its splits with public answers."""
    hubs = [
        (split, source)
        for split in task.splits
        if split.answers == "public"
        for source in split.sources[:1]
        if isinstance(source, Hub)
    ]
    tasks = []
    for split, hub in hubs:
        if hub.id == hubs[0][1].id:
            config, _, name = hub.files.rpartition("/")
            config = "default" if config in ("", "*", "data") else config
            tasks.append({"id": task_id(task.name, split.name), "config": config, "split": name})
    title = task.title or task.name
    return {
        "name": title,
        "description": f"{title}; {task.metric.replace('_', ' ')} in percent.",
        "evaluation_framework": "vlmbench",
        "tasks": tasks,
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in TASKS:
        task = installed(name)
        assert task is not None
        (FOLDER / f"{name}.yaml").write_text(yaml.safe_dump(benchmark(task), sort_keys=False))


if __name__ == "__main__":
    main()
