"""The rows that other tools' files carry are rows that the tasks read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vlmbench.data.predictions import read
from vlmbench.data.rows import Row
from vlmbench.task import loading
from vlmbench.task.loading import conventions_of

Write = Callable[[str | bytes], Path]

FLOAT = {"question_type": "free_form", "answer_type": "float", "answer": "1.45"}
MMBENCH = {"index": 1000241, "question": "?", "A": "x", "B": "y", "C": None, "answer": "B"}
LOGGED = {"doc_id": 3, "filtered_resps": "r", "target": "['g']", "input": "?"}

FILES: list[tuple[str, Any, str, Mapping[str, Any]]] = [
    ("textvqa", [{"index": 5, "answer": "['g', 'h']", "prediction": "r"}], "5", {}),
    ("docvqa", [{"index": 5, "answer": "['g', 'h']", "prediction": "r"}], "5", {}),
    ("docvqa", LOGGED, "3", {"answers": ("g",)}),
    (
        "mmmu",
        [{"id": "validation_Art_1", "A": "x", "B": "y", "answer": "B", "prediction": "r"}],
        "validation_Art_1",
        {"answers": ("B",), "options": {"A": "x", "B": "y"}},
    ),
    (
        "mmmu",
        [{"id": "validation_Art_1", "A": None, "answer": "['g', 'h']", "prediction": "r"}],
        "validation_Art_1",
        {"options": {}},
    ),
    ("mathvista", [FLOAT | {"index": 17, "prediction": "r"}], "17", {"answers": ("1.45",)}),
    (
        "mathvista",
        LOGGED | {"submission": FLOAT | {"question_id": "17", "query": "?", "precision": 2.0}},
        "17",
        {"answers": ("1.45",)},
    ),
    ("mathvista", {"17": FLOAT | {"response": "r", "precision": 2}}, "17", {"answers": ("1.45",)}),
    (
        "mmbench",
        [MMBENCH | {"prediction": "r"}],
        "1000241",
        {"answers": ("B",), "options": {"A": "x", "B": "y"}, "rotation": 1},
    ),
    (
        "mmbench",
        LOGGED | {"submission": MMBENCH | {"C": "nan", "prediction": "r"}},
        "1000241",
        {"answers": ("B",), "options": {"A": "x", "B": "y"}, "rotation": 1},
    ),
]


@pytest.mark.parametrize(("task", "content", "id", "want"), FILES)
def test_a_row_is_read_by_its_task(
    write: Write, task: str, content: Any, id: str, want: Mapping[str, Any]
) -> None:
    (line,) = read(write(json.dumps(content)), conventions_of(task)).lines
    assert line.row is not None
    sample = loading.find(task).read(Row(line.row, where=line.where, key=str(line.prediction.id)))
    assert sample.id == str(line.prediction.id) == id
    for name, value in ({"answers": ("g", "h")} | dict(want)).items():
        assert getattr(sample, name) == value
    if task == "mathvista":
        assert sample.facts["precision"] == 2
