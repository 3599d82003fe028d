"""JSON lines, and the format of our own: `{"id": ..., "response": "..."}`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from vlmbench.data.predictions import gold, text_file
from vlmbench.data.predictions.conventions import Conventions
from vlmbench.data.predictions.line import Line, identity, kind, missing, nearest, wrong
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Prediction

Record = dict[str, Json]

OPTIONAL = ("sample", "extraction", "error")


def records(path: Path) -> Iterator[tuple[str, Record]]:
    """Objects of a JSON lines file with their places, lazily: a bad line raises when reached."""
    prefix = f"{path}:"
    for number, line in text_file.lines(path):
        where = prefix + str(number)
        yield where, record(line, where)


def record(line: str, where: str) -> Record:
    value = decode(line, where)
    if type(value) is dict:
        return value
    raise VlmbenchError(f'{where}: {kind(value)}, expected {{"id": ..., "response": ...}}')


def decode(line: str, where: str) -> object:
    """The JSON value of a line. Of a key that stands twice the last counts, as JSON readers do."""
    try:
        return _DECODER.decode(line)
    except json.JSONDecodeError as error:
        place = f"{error.msg} (column {error.colno})"
        cut = "" if line.endswith("\n") else "; the file ends in this line: was it cut off?"
        raise VlmbenchError(f"{where}: not JSON: {place}{cut}") from None
    except (ValueError, RecursionError) as error:
        raise VlmbenchError(f"{where}: {reason(error)}") from None


def reason(error: Exception) -> str:
    """The reason why text that is JSON by its grammar cannot be read."""
    if isinstance(error, _ConstantError):
        return f"{error} is not JSON; write null or text"
    if isinstance(error, RecursionError):
        return "lists or objects nested too deeply"
    return "a number with thousands of digits"  # the limit of int() is the only other ValueError


class _ConstantError(ValueError):
    """NaN, Infinity or -Infinity, which Python's JSON reader would accept."""


def refuse_constant(name: str) -> NoReturn:
    """Hook for json's `parse_constant`. Raises: ValueError."""
    raise _ConstantError(name)


_DECODER = json.JSONDecoder(parse_constant=refuse_constant)


def ours(record: Mapping[str, Json], where: str, conventions: Conventions) -> Line:
    """A line of our format, or of a run's log.

    Unknown keys are passed over, but for those that look like a misspelt one of ours.
    """
    key = identity(record, "id", where)
    if "response" not in record:
        raise missing("response", record, where)
    response = record["response"]
    if response is not None and not isinstance(response, str):
        raise wrong("response", response, "text, or null where the model failed", where)
    if len(record) == 2:
        return Line(prediction=Prediction(id=key, response=response), row=None, where=where)
    for name in record:
        if meant := _misspelt(name):
            raise VlmbenchError(f"{where}: unknown key {name!r}; is {meant!r} meant?")
    if "extraction" in record and not conventions.has_extraction:
        raise VlmbenchError(f"{where}: the task is scored from the response; drop 'extraction'")
    row, error = record.get("sample"), record.get("error")
    if row is None:
        row = _beside(record, key, conventions)
    if row is not None and not isinstance(row, Mapping):
        raise wrong("sample", row, "an object with the hub's column names", where)
    if error is not None and not isinstance(error, str):
        raise wrong("error", error, "text", where)
    if error and response is not None:
        raise VlmbenchError(f"{where}: both a response and an error; a failed one is null")
    prediction = Prediction(
        id=key,
        response=response,
        error=error or "",
        final=record.get("extraction", ""),
        is_final="extraction" in record,
    )
    return Line(prediction=prediction, row=row, where=where)


def _beside(record: Mapping[str, Json], key: Json, conventions: Conventions) -> Json:
    """The row that the question's gold answer and the like make, as in MMMU's own files."""
    found = gold.beside(record, "response")
    question = record.get("question", record.get("prompt"))
    text = question if isinstance(question, str) else ""
    return None if found is None else gold.row(found, record, key, text, conventions)


@functools.lru_cache(maxsize=1024)
def _misspelt(name: str) -> str | None:
    """The optional key that an unknown one looks like; ignoring it would change the score."""
    if name in OPTIONAL:
        return None
    return next((key for key in OPTIONAL if nearest(key, [name], likeness=0.8)), None)
