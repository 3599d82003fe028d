"""A split's files as one memory-mapped table, whatever their kind: parquet, arrow, jsonl, tsv."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlmbench.errors import VlmbenchError

SUFFIXES = (".parquet", ".arrow", ".jsonl", ".tsv")

JSON_COLUMN = "row as JSON"
"""Column of a text file's rows without their pictures, which have columns of their own.

So a value is what the file says. Guessed column types are not: to pyarrow a date is a time stamp.
"""


def read(
    files: Sequence[Path],
    pictures: Collection[str],
    only: Mapping[str, str],
    fingerprint: str,
) -> Any:
    """The rows of all files as a `datasets.Dataset`; `pictures` names the columns that hold them.

    `only`: of a text file, the rows that have these values, or lack these columns.

    Raises: VlmbenchError for files of several kinds and for a file that cannot be read.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what goes wrong is said below
    try:
        return _table(files, sorted(pictures), only, fingerprint)
    except (datasets.exceptions.DatasetGenerationError, OSError, ValueError) as error:
        reason = _reason(error.__cause__ or error, files)
    finally:
        datasets.logging.set_verbosity(verbosity)
    # The failed reader is gone only now that nothing refers to its error: were it there when the
    # process ends, its threads could abort it.
    gc.collect()
    raise VlmbenchError(reason)


def _reason(cause: BaseException, files: Sequence[Path]) -> str:
    if isinstance(cause, VlmbenchError):
        return str(cause)
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        import datasets

        return (
            f"the disk of {datasets.config.HF_DATASETS_CACHE}, where rows are laid out, is full; "
            "free some of it, or set HF_DATASETS_CACHE to a folder on another"
        )
    lines = str(cause).splitlines() or [type(cause).__name__]
    return f"cannot read {', '.join(map(str, files[:3]))}: {lines[0][:200]}"


def _table(
    files: Sequence[Path], pictures: Sequence[str], only: Mapping[str, str], fingerprint: str
) -> Any:
    import datasets

    kinds = sorted({path.suffix for path in files})
    if len(kinds) > 1:
        raise VlmbenchError(
            f"{', '.join(kinds)} files lie together in {files[0].parent}; keep one kind"
        )
    names = [str(path) for path in files]
    if kinds == [".arrow"]:
        return datasets.concatenate_datasets([datasets.Dataset.from_file(name) for name in names])
    if kinds == [".parquet"]:
        return datasets.Dataset.from_parquet([_without_patterns(path) for path in files])
    columns = (JSON_COLUMN, *pictures)
    return datasets.Dataset.from_generator(
        _text_rows,
        features=datasets.Features(dict.fromkeys(columns, datasets.Value("string"))),
        gen_kwargs={
            "names": tuple(names),  # a list would be read file by file, as shards
            "pictures": tuple(pictures),
            "only": dict(only),
            "fingerprint": fingerprint,
        },
        writer_batch_size=100,  # rows in memory: base64 pictures are large
    )


def _without_patterns(path: Path) -> str:
    """A name of the file that `datasets` takes for a path, and not for a pattern or a URL chain.

    It has no way to quote one, so such a file is read by a link of a plain name, always the same.
    """
    import datasets

    if not re.search(r"[*?\[\]{}!:]", str(path)):
        return str(path)
    real = os.path.realpath(path)
    digest = hashlib.blake2b(os.fsencode(real), digest_size=16).hexdigest()
    link = Path(datasets.config.HF_DATASETS_CACHE) / "vlmbench-links" / f"{digest}{path.suffix}"
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(real)
    if os.path.realpath(link) != real:
        raise VlmbenchError(f"{link} does not lead to {real}; remove it")
    return str(link)


def fingerprint(files: Sequence[Path], folder: Path) -> str:
    """Equal for equal files under equal names in `folder`.

    Files of up to 16 MiB are read whole, larger ones at 256 places and at their end.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size} ".encode())
        with path.open("rb") as file:
            for start in (*range(0, size, max(BLOCK, size // 256)), max(0, size - BLOCK)):
                file.seek(start)
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


BLOCK = 1 << 16


def _text_rows(
    names: tuple[str, ...], pictures: tuple[str, ...], only: Mapping[str, str], fingerprint: str
) -> Iterator[dict[str, str | None]]:
    """`fingerprint` is not read: it makes `datasets` read a changed file anew."""
    is_empty = True
    for name in names:
        path = Path(name)
        for where, row in _tsv_rows(path) if path.suffix == ".tsv" else _json_rows(path):
            if any(row.get(column, value) != value for column, value in only.items()):
                continue
            cells = {column: row.pop(column, None) or None for column in pictures}
            for column, cell in cells.items():
                if isinstance(cell, list) and all(isinstance(item, str) for item in cell):
                    cells[column] = json.dumps(cell)
                elif cell is not None and not isinstance(cell, str):
                    raise VlmbenchError(
                        f"{where}: column {column!r} is no text and no list of texts; a picture is "
                        "base64, or a path"
                    )
            is_empty = False
            yield {JSON_COLUMN: json.dumps(row), **cells}
    if is_empty:
        wanted = " and ".join(f"{column} {value!r}" for column, value in only.items())
        raise VlmbenchError(f"no rows{wanted and ' with ' + wanted} in {', '.join(names[:3])}")


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise VlmbenchError(f"{where}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise VlmbenchError(f"{where}: no object with the hub's column names")
            yield where, row


def _tsv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pandas

    blocks = pandas.read_csv(path, sep="\t", dtype=str, keep_default_na=False, chunksize=256)
    number = 0
    for block in blocks:
        for row in block.to_dict("records"):
            number += 1
            yield f"{path} row {number}", {str(column): cell for column, cell in row.items()}
