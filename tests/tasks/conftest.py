"""Samples of the built-in tasks, read from copies of the hub's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlmbench.data import splits
from vlmbench.data.rows import Row
from vlmbench.schema import Sample
from vlmbench.task import loading

MakeRows = Callable[[str, str], list[dict[str, Any]]]


@pytest.fixture
def samples(hub_copies: Path) -> Callable[[str], list[Sample]]:
    """A function: task@split -> its samples."""

    def read(spec: str) -> list[Sample]:
        found, split, _ = loading.parse_spec(spec)
        return [found.read(row) for row in splits.load(found.name, split, hub_copies)]

    return read


@pytest.fixture
def read(made_rows: MakeRows) -> Callable[..., Sample]:
    """A function: a task and changed columns -> the sample of its first row with these changed."""

    def changed(name: str, **columns: Any) -> Sample:
        values = made_rows(name, loading.find(name).splits[0].name)[0] | columns
        return loading.find(name).read(Row(values, where="row 0"))

    return changed
