"""The report's data as scripts, since a page that is opened from disk may not fetch files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlmbench import files

SIZES: Mapping[str, int] = {"index": 10_000, "text": 1_000, "detail": 200}
"""Samples in a file of each kind. The list reads all of "index" at once, the search all of "text";
of the rest only what is looked at is read."""

ESCAPED = {b"<": b"\\u003c", "\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}
"""Characters that may not stand in a script, and their escapes; JSON has them in strings only."""


def write(folder: Path, name: str, content: Any) -> None:
    """Writes NAME.js, which hands the content to the page's `deliver`."""
    text = files.encode(content).rstrip(b"\n")
    for plain, escaped in ESCAPED.items():
        text = text.replace(plain, escaped)
    path = folder / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'deliver("%s", %s);\n' % (name.encode(), text))


class TaskFiles:
    """Writes the files of one task of a run; samples are held only until their file is full."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._waiting: dict[str, list[Any]] = {kind: [] for kind in SIZES}
        self._num_files = dict.fromkeys(SIZES, 0)
        self.num_samples = 0

    def add(self, index: Mapping[str, Any], text: Sequence[Any], detail: Mapping[str, Any]) -> None:
        """Add a sample: its columns, its [question, response, gold answers], and the rest."""
        for kind, content in (("index", index), ("text", text), ("detail", detail)):
            self._waiting[kind].append(content)
            if len(self._waiting[kind]) == SIZES[kind]:
                self._flush(kind)
        self.num_samples += 1

    def close(self) -> dict[str, Any]:
        """Write what is left; returns the numbers of files and their sizes, for the page."""
        for kind, waiting in self._waiting.items():
            if waiting:
                self._flush(kind)
        return {"index": self._num_files["index"], "sizes": dict(SIZES)}

    def _flush(self, kind: str) -> None:
        waiting, self._waiting[kind] = self._waiting[kind], []
        content: Any = waiting
        if kind == "index":
            content = {column: [sample[column] for sample in waiting] for column in waiting[0]}
        write(self._folder, f"{self._name}/{kind}-{self._num_files[kind]}", content)
        self._num_files[kind] += 1
