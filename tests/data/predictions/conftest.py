from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """A function: a file's content -> its path. The file's name tells nothing of its format."""

    def written(content: str | bytes) -> Path:
        path = tmp_path / "answers"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written
