"""Which split a prediction file's line belongs to, as far as the file says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from vlmbench.data.predictions import Line
from vlmbench.data.splits import Drawn, Split
from vlmbench.task.task import Task

SPELLINGS = {"val": "validation", "valid": "validation"}


def stated(task: Task, line: Line) -> str:
    """The line's split in the file's own words, "dev" or "validation"; empty: it does not say.

    It stands in the row's column `split` or among its metadata, or begins the id (MMMU).
    """
    row = line.row or {}
    metadata = row.get("metadata")
    value = row.get("split") or (metadata.get("split") if isinstance(metadata, Mapping) else None)
    if not isinstance(value, str) and task.conventions.id_begins_with_split:
        value = line.key.partition("_")[0]
    word = value.strip().lower() if isinstance(value, str) else ""
    word = SPELLINGS.get(word, word)
    return word if word in _words(task) else ""


def belongs(split: Split, word: str) -> bool:
    """True if a line with that `stated` word can be one of the split's.

    A benchmark's files say "dev" for each of dev-en, dev-cn, ...; drawn rows copy such words.
    """
    is_drawn = any(isinstance(source, Drawn) for source in split.sources)
    return not word or is_drawn or word in (split.name, split.name.partition("-")[0])


def default_for(task: Task, lines: Iterable[Line]) -> Split:
    """The task's first split, or the only one that the lines belong to where that is another."""
    counts = Counter(stated(task, line) for line in lines)
    first = task.splits[0]
    if len(counts) == 1 and not belongs(first, word := next(iter(counts))):
        return next(split for split in task.splits if belongs(split, word))
    return first


def _words(task: Task) -> set[str]:
    names = {split.name for split in task.splits}
    return names | {name.partition("-")[0] for name in names}
