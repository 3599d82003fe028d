"""Lines of JSON, as run folders and scores files hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json


def encode(record: Mapping[str, Json]) -> bytes:
    """One line, in UTF-8 where it can be: a lone surrogate, which that lacks, is escaped."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # also for whole numbers beyond 64 bits
        return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Any:
    """Raises: ValueError where the line is no JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return json.loads(line)
        except RecursionError:
            raise ValueError("lists or objects nested too deeply") from None


def opened(path: Path) -> BinaryIO:
    """A file of lines, to be read. Raises: VlmbenchError where it cannot be."""
    try:
        return path.open("rb")
    except OSError as error:
        raise VlmbenchError(f"cannot read {path}: {error.strerror}") from None
