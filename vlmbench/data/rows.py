"""A data set's rows: typed columns, and pictures that stay encoded on disk until asked for."""

from __future__ import annotations

import ast
import base64
import io
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlmbench.data.row_files import JSON_COLUMN
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Json, Picture

if TYPE_CHECKING:
    from PIL.Image import Image


class Row:
    """One row with typed columns: a wrong type is an error that names the row and the column."""

    __slots__ = ("_index", "_rows", "key", "values", "where")

    def __init__(
        self,
        values: Mapping[str, Json],
        *,
        where: str,
        key: str = "",
        rows: Rows | None = None,
        index: int = 0,
    ) -> None:
        """`key`: a prediction's id, for a row that came with it and may lack its own."""
        self.values, self.where, self.key = values, where, key
        self._rows, self._index = rows, index

    def has(self, column: str) -> bool:
        return column in self.values

    def raw(self, column: str) -> Json:
        """The value as it is stored; None where the column is missing."""
        return self.values.get(column)

    def id(self, column: str) -> str:
        """The row's own id as text, whatever its type; the prediction's id where there is none."""
        value = self.values.get(column)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
        if value is None and self.key:
            return self.key
        raise self.wrong(column, "an id: text or a whole number")

    def text(self, column: str, *, missing: str | None = None) -> str:
        """Text, or a number as text; `missing` where there is no such column. Never null."""
        value = self.values.get(column)
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)  # a sheet or JSON file may hold an answer such as 5 as a number
        if missing is not None and column not in self.values:
            return missing
        raise self.wrong(column, "text")

    def cell(self, column: str) -> str:
        """Text; empty where the column is missing or the cell null, NaN or "nan".

        So that "nan", which copies made with pandas have for an empty cell, cannot be a text.
        """
        value = self.values.get(column)
        if value is None or value == "nan" or (isinstance(value, float) and math.isnan(value)):
            return ""
        return self.text(column)

    def texts(self, column: str, *, field: str | None = None) -> tuple[str, ...]:
        """A list of texts, or of records that have the text under `field`; empty where null."""
        items = self.values.get(column)
        if items is None and column in self.values:
            return ()
        if isinstance(items, list | tuple):
            if field:
                items = [item.get(field) if isinstance(item, dict) else item for item in items]
            kinds = set(map(type, items))
            if kinds <= {str}:
                return tuple(items)
            if kinds <= {str, int, float}:
                return tuple(map(str, items))
        raise self.wrong(column, "a list of texts")

    def number(self, column: str) -> float | None:
        """A number; None where the column is missing, or the cell null or NaN."""
        value = self.values.get(column)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return None if math.isnan(value) else float(value)
        raise self.wrong(column, "a number")

    def record(self, column: str) -> Mapping[str, Json]:
        """A nested record; empty where the column is missing or the cell null."""
        value = self.values.get(column)
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        raise self.wrong(column, "a record")

    def picture(self, column: str, *, is_optional: bool = True) -> Picture | None:
        """The picture, not yet read; None where the row came without pictures.

        Of a cell without one: None if it is optional, else a picture that fails when it is read.
        """
        rows, index = self._rows, self._index
        if rows is None or not rows.has_pictures(column):
            return None
        if is_optional and not rows.has_picture(index, column):
            return None
        return StoredPicture(rows, index, column)

    def pictures(self, *columns: str, are_optional: bool = False) -> dict[int, Picture]:
        """The pictures by number: that of the first column is 1. See `picture`.

        A cell that is a list of pictures takes as many numbers.
        """
        found: dict[int, Picture] = {}
        number = 1
        for column in columns:
            length = self._rows.list_length(self._index, column) if self._rows else None
            if self._rows is not None and length is not None:
                for position in range(length):
                    found[number + position] = StoredPicture(
                        self._rows, self._index, column, position
                    )
                number += length
                continue
            picture = self.picture(column, is_optional=are_optional)
            if picture is not None:
                found[number] = picture
            number += 1
        return found

    def wrong(self, column: str, expected: str) -> VlmbenchError:
        """The error for a value that is not what the task reads."""
        if column not in self.values:
            return VlmbenchError(
                f"{self.where}: no column {column!r} (the hub's column names are expected; "
                f"there are: {', '.join(self.values)})"
            )
        value = repr(self.values[column])
        shown = value if len(value) <= 60 else value[:57] + "..."
        return VlmbenchError(f"{self.where}: column {column!r} is {shown}, expected {expected}")


class Rows:
    """A split's rows, memory-mapped, in the order of the files."""

    def __init__(
        self,
        dataset: Any,
        *,
        pictures: Collection[str],
        source: str,
        revision: str,
        folder: Path,
        fingerprint: str,
    ) -> None:
        """`pictures`: columns that hold pictures, besides those whose type says so.

        `folder`: what a picture's path is relative to, where a cell holds one.
        """
        import datasets

        self._pictures = {
            column
            for column, feature in dataset.features.items()
            if column in pictures
            or isinstance(feature, datasets.Image)
            or isinstance(getattr(feature, "feature", None), datasets.Image)  # a list of them
        }
        others = [column for column in dataset.features if column not in self._pictures]
        self._texts = dataset.select_columns(others).with_format("arrow")
        self._is_json = others == [JSON_COLUMN]
        self._cells = dataset.data
        self._folder = folder
        self._patches: Mapping[str, Mapping[str, Json]] = {}
        self._patched_id = ""
        self._masks: dict[str, bytes] = {}
        self._list_masks: dict[str, bytes] = {}
        self._by_index: dict[str, int] | None = None
        self.source, self.revision, self.fingerprint = source, revision, fingerprint

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns; of a text file those of its first row, and of its pictures."""
        if not self._is_json:
            return tuple(self._cells.column_names)
        names = self[0].values if len(self) else ()
        return (*names, *(c for c in sorted(self._pictures) if 1 in self._filled(c)))

    def where(self, index: int) -> str:
        return f"{self.source} row {index}"

    def patch(self, id_column: str, patches: Mapping[str, Mapping[str, Json]]) -> None:
        """Let some rows have other values: `patches` is id to column to value."""
        self._patched_id, self._patches = id_column, patches

    def __iter__(self) -> Iterator[Row]:
        index = 0
        for block in self._texts.iter(batch_size=1000):
            for values in self._values(block):
                yield Row(values, where=self.where(index), rows=self, index=index)
                index += 1

    def __getitem__(self, index: int) -> Row:
        return next(self.take([index]))

    def take(self, indices: Sequence[int]) -> Iterator[Row]:
        """The rows of those numbers, in that order; read in blocks, as single rows are slow."""
        for start in range(0, len(indices), BLOCK):
            block = list(indices[start : start + BLOCK])
            for index, values in zip(block, self._values(self._gather(block)), strict=True):
                yield Row(values, where=self.where(index), rows=self, index=index)

    def _gather(self, indices: list[int]) -> Any:
        """A table of these rows; near ones are taken out of one slice, which copies nothing."""
        low, high = min(indices), max(indices)
        if high - low < 16 * len(indices):
            return self._texts[low : high + 1].take([index - low for index in indices])
        return self._texts[indices]

    def _values(self, block: Any) -> list[dict[str, Json]]:
        rows: list[dict[str, Any]] = block.to_pylist()
        if self._is_json:
            rows = [json.loads(row[JSON_COLUMN]) for row in rows]
        if self._patches:
            for row in rows:
                row.update(self._patches.get(str(row.get(self._patched_id)), {}))
        return rows

    def has_pictures(self, column: str) -> bool:
        """True if the column is one of pictures, whatever its cells hold."""
        return column in self._pictures

    def has_picture(self, index: int, column: str) -> bool:
        return self.has_pictures(column) and self._filled(column)[index] == 1

    def _filled(self, column: str) -> bytes:
        """A byte a row: 1 where the column has a picture. Found without reading one."""
        if column not in self._masks:
            chunks = map(_is_filled, self._cells.column(column).chunks)
            self._masks[column] = b"".join(
                mask.to_numpy(zero_copy_only=False).tobytes() for mask in chunks
            )
        return self._masks[column]

    def list_length(self, index: int, column: str) -> int | None:
        """How many pictures a cell lists; None: it is one picture or none, and no list."""
        if not self.has_picture(index, column) or not self._lists(column)[index]:
            return None
        value = self._value(index, column)
        return len(value) if isinstance(value, list) else None

    def _lists(self, column: str) -> bytes:
        """A byte a row: 1 where the cell may be a list of pictures. Found without reading one."""
        if column not in self._list_masks:
            chunks = map(_may_be_list, self._cells.column(column).chunks)
            self._list_masks[column] = b"".join(
                mask.to_numpy(zero_copy_only=False).tobytes() for mask in chunks
            )
        return self._list_masks[column]

    def picture_bytes(self, index: int, column: str, position: int | None = None) -> bytes:
        """The encoded picture; a text cell is a path, base64, or the `index` of another row.

        `position`: which one of a cell that is a list; of any other cell None.

        The third form is VLMEvalKit's: a cell of at most 64 characters names the row that has it.

        Raises: ValueError where there is none, or a text is none of these.
        """
        cell = self._cell(index, column, position)
        if isinstance(cell, str) and len(cell) <= MAX_INDEX_LENGTH:
            other = self._rows_by_index().get(cell)
            if other is not None:
                cell = self._cell(other, column, position)
        if isinstance(cell, bytes):
            return cell
        where = f"{self.where(index)}: column {column!r}"
        if not cell:
            raise ValueError(f"{where} holds no picture")
        path = self._folder / cell
        if len(cell) <= MAX_PATH_LENGTH and path.is_file():
            return path.read_bytes()
        try:
            return base64.b64decode(cell.partition("base64,")[2] or cell, validate=True)
        except ValueError:
            raise ValueError(f"{where} is neither base64 nor a file in {self._folder}") from None

    def _value(self, index: int, column: str) -> Any:
        """A cell of a column of pictures as it is stored; a list also where a text spells one."""
        value = self._cells.column(column)[index].as_py()
        is_spelt = isinstance(value, str) and value.startswith("[") and value.endswith("]")
        return _listed(value) if is_spelt else value

    def _cell(self, index: int, column: str, position: int | None) -> bytes | str | None:
        value = self._value(index, column)
        if isinstance(value, list):
            if position is None and len(value) > 1:
                raise ValueError(
                    f"{self.where(index)}: column {column!r} holds {len(value)} pictures in a list"
                )
            value = value[position or 0] if value else None
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        return value if isinstance(value, bytes | str) else None

    def _rows_by_index(self) -> Mapping[str, int]:
        if self._by_index is None:
            numbered = enumerate(row.raw("index") for row in (self if self[0].has("index") else ()))
            self._by_index = {str(value): row for row, value in numbered if value is not None}
        return self._by_index


MAX_INDEX_LENGTH, MAX_PATH_LENGTH = 64, 255
"""Longer texts are not looked for among the rows' indices, or as files."""


BLOCK = 64
"""Rows that `Rows.take` reads together: one at a time would be several times slower."""

GC_THRESHOLD = 50_000
"""GC threshold: rows have no cycles, and at the default the collector takes a third."""


@dataclass(frozen=True)
class StoredPicture(Picture):
    """A picture in a column of a data set; read from disk each time it is asked for."""

    rows: Rows
    index: int
    column: str
    position: int | None = None
    """Which picture of a cell that is a list."""

    def encoded(self) -> bytes:
        return self.rows.picture_bytes(self.index, self.column, self.position)

    def decode(self) -> Image:
        """Raises: ValueError that names row and column, for a broken or far too large picture."""
        from PIL import Image, UnidentifiedImageError

        content = io.BytesIO(self.encoded())
        try:
            image = Image.open(content)
            image.load()
        except UnidentifiedImageError as error:  # its message names an object in memory
            where = f"{self.rows.where(self.index)}: column {self.column!r}"
            raise ValueError(f"{where}: the picture cannot be decoded: no known format") from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            where = f"{self.rows.where(self.index)}: column {self.column!r}"
            raise ValueError(f"{where}: the picture cannot be decoded: {error}") from error
        return image


def _listed(text: str) -> list[str] | str:
    """The list of texts that a text spells, as JSON or Python writes it; else the text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if is_list else text


def _may_be_list(cells: Any) -> Any:
    """Which cells are lists, or texts that begin like one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        return pc.fill_null(pc.starts_with(cells, "["), False)
    is_list = pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type)
    return pa.repeat(pa.scalar(is_list), len(cells))


def _is_filled(cells: Any) -> Any:
    """Which cells hold something: of a record of bytes and path, one of the two; of a list, any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type):
        return pc.fill_null(pc.greater(pc.list_value_length(cells), 0), False)
    if not pa.types.is_struct(cells.type):
        return pc.is_valid(cells)
    parts = [pc.is_valid(pc.struct_field(cells, [i])) for i in range(cells.type.num_fields)]
    filled = parts[0]
    for part in parts[1:]:
        filled = pc.or_(filled, part)
    return filled
