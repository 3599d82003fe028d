"""Why a file of a checkpoint cannot be read, in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GIT_LFS = b"version https://git-lfs.github.com/spec/"
MAX_BYTES = 2**28
"""Of a small file: a tokenizer has 20 MB."""

MAX_HEADER = 100_000_000  # bytes; the safetensors library refuses a longer one


def reason(path: Path, error: Exception) -> str:
    """What is wrong with a file that `error` was raised for."""
    if not path.exists():
        return "there is no such file"
    if is_pointer(path):
        return "it is a Git-LFS pointer, not the file itself: get that with `git lfs pull`"
    if path.suffix == ".safetensors" and (size := _whole_size(path)) is not None:
        here = path.stat().st_size
        if here < size:
            return f"it is cut short: {here:,} of {size:,} bytes or more; get it again"
    return getattr(error, "strerror", None) or str(error)


def text_of(path: Path) -> str:
    """The text of a small file. Raises: OSError, and ValueError for a pipe, or for a huge file."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file on disk")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, and {MAX_BYTES:,} at most are read")
    return path.read_text("utf-8")


def is_pointer(path: Path) -> bool:
    """True for what Git leaves in place of a large file that was not fetched."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(GIT_LFS)) == GIT_LFS


def _whole_size(path: Path) -> int | None:
    """Bytes that a safetensors file must have at least; None where its header says nothing."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER:
                return None
            header = file.read(length)
        start = 8 + length
        if len(header) < length:
            return start
        entries: Any = json.loads(header)
        entries.pop("__metadata__", None)
        return start + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
