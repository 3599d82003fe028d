"""One prediction with its place in the file, and the checks that all formats share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vlmbench import errors
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry of a prediction file."""

    prediction: Prediction
    row: Mapping[str, Json] | None
    """The sample under the hub's column names, where the file carries enough of it to score."""

    where: str
    """The entry's place for messages: "answers.jsonl:12"."""

    prompt: str = ""
    """What the model was asked, where the file says so: it tells whether a row number fits."""

    @property
    def key(self) -> str:
        """The id as data sets have it: text, and 5 for a sheet's 5.0."""
        return key_of(self.prediction.id)


def key_of(id: str | int | float) -> str:
    """A prediction's id as text, and 5 for a sheet's 5.0."""
    return str(int(id)) if isinstance(id, float) and id.is_integer() else str(id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A prediction file, recognised by its first entry and read as `lines` is consumed."""

    format: str
    """Label shown: "vlmbench jsonl", "lmms-eval samples", "VLMEvalKit xlsx", ..."""

    lines: Iterator[Line]
    by_row_number: bool = False
    """True: `Prediction.id` is the row's number in the split from 0, not the sample's id."""

    ids_name_pictures: bool = False
    """True: questions about one picture share an id, and `Line.prompt` tells them apart."""

    has_gold_only: bool = False
    """True: rows are gold answers beside the model's, and the data set's own are better."""


def identity(record: Mapping[str, Json], key: str, where: str) -> str | int | float:
    """The id under `key`, with its type as given. Raises: VlmbenchError for any other type."""
    if key not in record:
        raise missing(key, record, where)
    value = record[key]
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise wrong(key, value, "text or a number", where)


def text(record: Mapping[str, Json], key: str, where: str) -> str:
    if key not in record:
        raise missing(key, record, where)
    value = record[key]
    if isinstance(value, str):
        return value
    raise wrong(key, value, "text", where)


def missing(key: str, record: Mapping[str, Json], where: str) -> VlmbenchError:
    """The error for an absent key: the key that was probably meant, or those that are there."""
    meant = nearest(key, record)
    shown = ", ".join(map(repr, list(record)[:12])) + (", ..." if len(record) > 12 else "")
    hint = f"is {meant!r} meant for it?" if meant else f"there are: {shown or 'none'}"
    return VlmbenchError(f"{where}: no {key!r}; {hint}")


def nearest(key: str, names: Iterable[str], likeness: float = 0.65) -> str | None:
    """The name that looks most like a misspelt `key`, if one does."""
    return next(iter(errors.nearest(key, names, most=1, likeness=likeness)), None)


def wrong(key: str, value: object, expected: str, where: str) -> VlmbenchError:
    return VlmbenchError(f"{where}: {key!r} is {kind(value)}, expected {expected}")


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, str):
        return "text"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        digits = repr(value)
        return f"the number {digits if len(digits) <= 20 else digits[:17] + '...'}"
    return "a list" if isinstance(value, list) else "an object"
