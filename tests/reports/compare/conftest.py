"""Pairs of runs on made-up rows, from answers that are given by sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlmbench import files
from vlmbench.data.rows import Row
from vlmbench.runs import scoring
from vlmbench.runs.folder.manifest import Manifest, write_manifest
from vlmbench.runs.plan import Item
from vlmbench.task.binding import PromptSettings
from vlmbench.task.loading import parse_spec
from vlmbench.task.reading import Reading

Answered = Callable[..., Path]


@pytest.fixture
def answered(tmp_path: Path, made_rows: Callable[..., list[dict[str, Any]]]) -> Answered:
    """A function: a run's name, and for each task the answers by id -> the folder of that run.

    `ids`: the samples to select, None: all. A selected sample without an answer has failed.
    """

    def make(
        name: str,
        answers: Mapping[str, Mapping[str, str]],
        ids: Sequence[str] | None = None,
        **prompt: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        sources: list[Any] = [_source(task, made_rows) for task in answers]
        items = []
        for source in sources:
            for index, row in enumerate(source.rows):
                id = source.task.read(row).id
                if ids is None or id in ids:
                    item = Item(task=source.name, index=index, id=id, image_group="", cost=0.0)
                    items.append(item)
        log = [_record(item, answers[item.task].get(item.id)) for item in items]
        (folder / "responses-0.jsonl").write_bytes(b"".join(map(files.encode, log)))
        settings = PromptSettings(**prompt)
        tasks = scoring.scored(folder, sources, items, settings, Reading())
        manifest = Manifest(
            vlmbench="0",
            packages={},
            hardware={},
            model={"spec": f"replay:{name}"},
            generation={},
            prompt=settings,
            data={task.name: task.data for task in tasks},
            status="complete",
            started=None,
            finished=None,
            tasks={task.name: task.record for task in tasks},
        )
        write_manifest(folder, manifest)
        return folder

    return make


class Made(list[Row]):
    """Rows in memory."""

    source, revision, fingerprint = "made", "", "f"


def _source(name: str, made_rows: Callable[..., list[dict[str, Any]]]) -> SimpleNamespace:
    task, split, _ = parse_spec(name)
    rows = Made(Row(values, where=name) for values in made_rows(task.name, split.name))
    return SimpleNamespace(name=name, task=task, rows=rows, figures=lambda folder: {})


def _record(item: Item, response: str | None) -> dict[str, Any]:
    return {
        "task": item.task,
        "id": item.id,
        "response": response,
        "finish_reason": "error" if response is None else "stop",
        "error": "ValueError: no" if response is None else "",
        "visual_tokens": None,
        "prompt_tokens": None,
        "generated_tokens": None,
        "timings": {},
        "images": [],
        "worker": "0",
        "time": 0.0,
    }
