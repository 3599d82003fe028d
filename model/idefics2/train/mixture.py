"""Several sources of samples in fixed proportions, and samples kept in files."""

from __future__ import annotations

import json
import math
import random
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idefics2.images import read_picture
from idefics2.train.samples import Content, Conversation, Document, Sample, Turn

CYCLE = 10_000
"""Samples after which the proportions repeat; a smaller share than 1 in so many gets 1."""


@dataclass(slots=True)
class Mixture:
    """A stage's `draw` that takes from sources by their shares of the samples.

    In every `CYCLE` samples each source has its share exactly, in a random order, and gets its own
    numbers 0, 1, 2, ... without gaps.
    """

    sources: Mapping[str, Callable[[int], Any]]
    shares: Mapping[str, float]
    seed: int = 0
    cycle: list[str] = field(init=False, repr=False)
    """The source of each of `CYCLE` samples."""
    places: dict[str, list[int]] = field(init=False, repr=False)
    """Places of each source in the cycle."""

    def __post_init__(self) -> None:
        if self.sources.keys() != self.shares.keys() or not self.sources:
            names, shared = sorted(self.sources), sorted(self.shares)
            raise ValueError(f"sources {names} have shares for {shared}")
        if min(self.shares.values()) <= 0:
            raise ValueError(f"shares must be positive: {dict(self.shares)}")
        total = sum(self.shares.values())
        counts = {name: max(1, round(CYCLE * share / total)) for name, share in self.shares.items()}
        self.cycle = [name for name, count in counts.items() for _ in range(count)]
        random.Random(self.seed).shuffle(self.cycle)
        self.places = {name: [] for name in self.sources}
        for place, name in enumerate(self.cycle):
            self.places[name].append(place)

    def pick(self, index: int) -> tuple[str, int]:
        """The source of that sample, and its number there."""
        cycle, place = divmod(index, len(self.cycle))
        name = self.cycle[place]
        places = self.places[name]
        return name, cycle * len(places) + bisect_left(places, place)

    def __call__(self, index: int) -> Any:
        name, number = self.pick(index)
        return self.sources[name](number)


@dataclass(frozen=True, slots=True)
class Lines:
    """Samples of a JSON-lines file, each once per epoch, in another order every epoch.

    A line is {"content": [...]}, a document, or {"turns": [{"content": [...], "answer": "..."}]},
    a conversation. Parts of a content are texts, and pictures as {"image": "path"}, from the
    file's folder. The file stays on disk: 8 bytes a line are in memory, and one line at a time.
    """

    path: Path
    source: str
    starts: array[int]
    seed: int = 0

    @classmethod
    def open(cls, path: Path, source: str, seed: int = 0) -> Lines:
        """Indexes the lines of the file.

        Raises: ValueError if there is no such file, or nothing in it.
        """
        if not path.is_file():
            raise ValueError(f"no file {path}, from which samples of {source} come")
        starts, place = array("q"), 0
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    starts.append(place)
                place += len(line)
        if not starts:
            raise ValueError(f"{path} is empty")
        return cls(path, source, starts, seed)

    def row(self, number: int) -> int:
        """The index of the line that is the sample of that number."""
        epoch, place = divmod(number, len(self.starts))
        numbers = random.Random(f"{self.seed}/{self.source}/{epoch}")
        size = len(self.starts)
        factor = numbers.randrange(size) or 1
        while math.gcd(factor, size) > 1:
            factor += 1
        return (factor * place + numbers.randrange(size)) % size

    def __call__(self, number: int) -> Sample:
        line = self.row(number)
        with self.path.open("rb") as file:
            file.seek(self.starts[line])
            text = file.readline()
        try:
            return self._sample(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path}, sample {line + 1}: {error!r}") from error

    def _sample(self, record: Mapping[str, Any]) -> Sample:
        if "content" in record:
            return Document(content=self._content(record["content"]), source=self.source)
        turns = [Turn(self._content(turn["content"]), turn["answer"]) for turn in record["turns"]]
        return Conversation(turns=tuple(turns), source=self.source)

    def _content(self, parts: list[str | Mapping[str, str]]) -> Content:
        folder = self.path.parent
        return tuple(
            part if isinstance(part, str) else read_picture(folder / part["image"])
            for part in parts
        )
