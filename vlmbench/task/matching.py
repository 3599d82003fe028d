"""Matching of a prediction file's lines with a task's samples, by id."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from vlmbench.data import splits
from vlmbench.data.predictions import Line, read
from vlmbench.data.rows import Row
from vlmbench.data.splits import Split
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Prediction, Sample
from vlmbench.task import split_names
from vlmbench.task.task import Task


class Matched:
    """A prediction file with the samples that it answers, as a stream of pairs."""

    def __init__(
        self,
        task: Task,
        split: Split | None,
        path: Path,
        data_dir: Path | None,
        *,
        allow_missing: bool,
    ) -> None:
        """`split` None: the task's first, or that of all the file's samples where they tell."""
        self._task, self._path = task, path
        self._data_dir, self._allow_missing = data_dir, allow_missing
        file = read(path, task.conventions)
        self.format = file.format
        self._by_row_number = file.by_row_number
        self._ids_name_pictures = file.ids_name_pictures
        self.num_missing = 0
        """Samples without a prediction; counted when all pairs have been read."""

        self.left_out = Counter[str]()
        """Lines of other splits by the split's name; counted when all pairs have been read."""

        lines = iter(file.lines)
        first = next(lines)  # an empty file is an error of the reader
        is_other = not split_names.belongs(task.splits[0], split_names.stated(task, first))
        if split is None and is_other:
            split = split_names.default_for(task, read(path, task.conventions).lines)
        self.split = split or task.splits[0]
        # VLMEvalKit numbers samples in its own way, so its files' own samples are the safer match
        prefers_own = data_dir is None or file.format.startswith("VLMEvalKit")
        if file.has_gold_only:
            prefers_own = data_dir is None and not splits.is_here(self.split)
        self.has_samples = first.row is not None and prefers_own
        if file.has_gold_only and self.has_samples:
            self.format += ", by the gold answers in it"
        self.group_sizes = None if self.has_samples else Counter[str]()
        """Rows of each circular group of the data set, filled as pairs are read; None: unknown."""

        self._lines = chain([first], lines)

    def total(self, num_read: int) -> int:
        """Samples of the whole split, where `num_read` pairs have been read."""
        if self.has_samples and self.split.size is not None:
            return self.split.size
        return num_read + self.num_missing

    def pairs(self) -> Iterator[tuple[Sample, Prediction]]:
        """The pairs, in one pass. Raises: VlmbenchError for ids missing, unknown or given twice."""
        return self._own_samples() if self.has_samples else self._data_set()

    def _of_split(self) -> Iterator[Line]:
        """The lines but for those that say they belong to another split.

        Raises: VlmbenchError, at the end, where no line is left.
        """
        is_any = False
        for line in self._lines:
            word = split_names.stated(self._task, line)
            if split_names.belongs(self.split, word):
                is_any = True
                yield line
            else:
                self.left_out[word] += 1
        if not is_any:
            raise VlmbenchError(
                f"{self._path} holds no sample of {self._task.name}@{self.split.name}; it holds "
                + ", ".join(f"{count:,} of {word}" for word, count in self.left_out.items())
            )

    def _own_samples(self) -> Iterator[tuple[Sample, Prediction]]:
        """Pairs whose samples stand in the file: in its order, one line in memory at a time."""
        hashes = array("q")
        for line in self._of_split():
            if line.row is None:
                raise VlmbenchError(
                    f"{line.where}: no sample here, but lines before it have one; "
                    'give every line its "sample", or none and --data-dir'
                )
            key = line.key
            hashes.append(hash(key))
            sample = self._task.read(Row(line.row, where=line.where, key=key))
            if not sample.answers:
                raise VlmbenchError(f"{line.where}: the sample has no gold answer to score against")
            yield sample, line.prediction
        if len(np.unique(np.array(hashes, dtype=np.int64))) < len(hashes):
            again = read(self._path, self._task.conventions).lines
            _index_by_id(again)  # names the ids that repeat

    def _data_set(self) -> Iterator[tuple[Sample, Prediction]]:
        """Pairs whose samples come from the data set, in its order."""
        by_picture = _ByPicture(self._of_split()) if self._ids_name_pictures else None
        lines = {} if by_picture else _index_by_id(self._of_split())
        name = f"{self._task.name}@{self.split.name}"
        rows = splits.load(self._task.name, self.split, self._data_dir, needs_pictures=False)
        sizes = self.group_sizes
        assert sizes is not None
        missing = []
        for number, row in enumerate(rows):
            sample = self._task.read(row)
            if sample.circular_group:
                sizes[sample.circular_group] += 1
            if by_picture:
                line = by_picture.pop(sample)
            else:
                line = lines.pop(str(number) if self._by_row_number else sample.id, None)
            if line is None:
                missing.append(sample.id)
                continue
            if not sample.answers:
                raise VlmbenchError(
                    f"{row.where}: {name} has no public answer for {sample.id!r}, "
                    "so it cannot be scored here"
                )
            if self._by_row_number and sample.question.lower() not in line.prompt.lower():
                raise VlmbenchError(
                    f"{line.where}: row {number} of {name} asks {sample.question!r}, which the "
                    "prompt here does not: the file numbers the rows of another data set"
                )
            yield sample, line.prediction
        self.num_missing = len(missing)
        if by_picture:
            lines = by_picture.rest()
        if lines:
            raise VlmbenchError(
                f"{self._path}: {_some(lines)} not in {name} of {rows.source}; "
                "is it another split's file?"
            )
        if missing and not self._allow_missing:
            raise VlmbenchError(
                f"{self._path}: no prediction for {_some(missing)} of {len(rows):,} in {name}; "
                "complete the file, or score what is there with --allow-missing"
            )


class _ByPicture:
    """Lines whose id is a picture's, to be found by their question too (LLaVA's TextVQA)."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines: dict[str, list[Line]] = {}
        for line in lines:
            self._lines.setdefault(line.key, []).append(line)

    def pop(self, sample: Sample) -> Line | None:
        """The sample's line: its prompt has the question as a line, else within one.

        Where files have the question's own id nevertheless, that is its line.
        """
        if sample.id in self._lines:
            return self._lines.pop(sample.id)[0]
        asked = self._lines.get(sample.image_group, [])
        question = " ".join(sample.question.lower().split())
        for is_its in (_has_line, _has_within):
            for position, line in enumerate(asked):
                if is_its(line.prompt.lower(), question):
                    return asked.pop(position)
        return None

    def rest(self) -> dict[str, Line]:
        """What was not popped, by picture."""
        return {key: lines[0] for key, lines in self._lines.items() if lines}


def _has_line(prompt: str, question: str) -> bool:
    lines = (line.removeprefix("question:") for line in prompt.splitlines())
    return any(" ".join(line.split()) == question for line in lines)


def _has_within(prompt: str, question: str) -> bool:
    return question in " ".join(prompt.split())


def _index_by_id(lines: Iterable[Line]) -> dict[str, Line]:
    indexed: dict[str, Line] = {}
    twice: dict[str, str] = {}
    for line in lines:
        key = line.key
        if key in indexed:
            twice.setdefault(key, line.where)
        indexed[key] = line
    if twice:
        where = next(iter(twice.values()))
        raise VlmbenchError(f"{where}: {_some(twice)} predicted more than once; keep one of each")
    return indexed


def _some(ids: Mapping[str, object] | list[str]) -> str:
    """A count of ids with the first five: "3 ids (a, b, c)"."""
    listed = ", ".join(list(ids)[:5]) + (", ..." if len(ids) > 5 else "")
    return f"{len(ids):,} id{'s' * (len(ids) != 1)} ({listed})"
