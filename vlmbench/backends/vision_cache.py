"""Vision features once a picture, for transformers models that have `get_image_features`.

Questions about one picture come together, and the tower need not see it again for each of them. A
feature's key is a digest of what the processor made of the picture: that covers the picture and the
processor's settings, and finds equal parts of different pictures too.

A part of a batch that the tower takes on its own is a unit: a picture, or one of its crops.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("pixel_values", "image_grid_thw", "pixel_attention_mask", "image_sizes")
"""Inputs of a tower that are cut into units."""

DIGEST_BYTES = 16
TOLERANCES = {"float32": 1e-4}
"""Largest difference of two logits that agree, as a part of the largest logit."""
ROUGH_TOLERANCE = 5e-2  # of half precision, where batches of other sizes are computed otherwise

Unit = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Units:
    """A batch's tower inputs in units, in the order of the features."""

    each: Sequence[Unit]
    rows: Sequence[int] = ()
    """The prompt of each unit, where units are padded to a rectangle of prompts and crops."""
    num_rows: int = 0
    """Prompts of that rectangle; 0: there is none."""

    def join(self, places: Sequence[int]) -> dict[str, Tensor]:
        """The inputs of some units."""
        import torch

        names, axis = self.each[0], 1 if self.num_rows else 0
        return {name: torch.cat([self.each[p][name] for p in places], axis) for name in names}


def units_of(given: Mapping[str, Tensor]) -> Units | None:
    """Tower inputs in units; None if they are in no known layout."""
    import torch

    pixels = given.get("pixel_values")
    if pixels is None:
        return None
    if "image_grid_thw" in given:  # Qwen: the patches of all pictures in one sequence
        grid = given["image_grid_thw"]
        if len(given) > 2 or int(grid.prod(-1).sum()) != len(pixels):
            return None
        pieces = torch.split(pixels, grid.prod(-1).tolist())
        names = ("pixel_values", "image_grid_thw")
        pairs = zip(pieces, torch.split(grid, 1), strict=True)
        return Units([dict(zip(names, pair, strict=True)) for pair in pairs])
    if pixels.ndim == 5 and "image_sizes" not in given:  # Idefics: crops of zeros are padding
        is_real = (pixels != 0).flatten(2).any(-1)
        if any(x.shape[:2] != is_real.shape for x in given.values()):
            return None
        places = is_real.nonzero().tolist()
        each = [
            {name: x[row : row + 1, column : column + 1] for name, x in given.items()}
            for row, column in places
        ]
        return Units(each, [row for row, _ in places], len(pixels))
    if any(len(x) != len(pixels) for x in given.values()):
        return None
    return Units([{name: x[i : i + 1] for name, x in given.items()} for i in range(len(pixels))])


def keys_of(inputs: Mapping[str, Any]) -> list[bytes] | None:
    """A key for each unit of a processor's output; None if there is none, or no known layout."""
    import torch

    given = {name: inputs[name] for name in NAMES if name in inputs}
    if not all(isinstance(x, torch.Tensor) for x in given.values()):
        return None
    units = units_of(given)
    return None if units is None else [_digest(unit) for unit in units.each]


def _digest(unit: Unit) -> bytes:
    import torch

    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for name, x in unit.items():
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}:".encode())
        digest.update(x.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest()


class _MismatchError(ValueError):
    """Features that cannot be told apart."""


class VisionCache:
    """Stands in front of a model's `get_image_features` while `of` is entered."""

    def __init__(self, model: Any, max_bytes: int) -> None:
        """An empty cache.

        Args:
            model: A transformers model.
            max_bytes: Of features that are kept for later batches.

        Raises: ValueError if the model has no `get_image_features`.
        """
        self._holder = model.base_model
        if not hasattr(self._holder, "get_image_features"):
            raise ValueError(f"a {model.config.model_type} model has no get_image_features")
        self._dtype = str(model.dtype).removeprefix("torch.")
        self._compute = self._holder.get_image_features
        self._signature = inspect.signature(self._compute)
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._is_tensor = False
        self._keys: Sequence[bytes] | None = None
        self._num_tried = 0
        self._one_by_one = False
        self.num_asked = self.num_computed = 0
        """Units of all batches, and those that the tower has seen."""

        @wraps(self._compute)  # generate looks at its signature
        def get_image_features(*args: Any, **kwargs: Any) -> Any:
            return self._features(*args, **kwargs)

        self._holder.get_image_features = get_image_features

    def remove(self) -> None:
        """Gives the model its own function back, and frees the features."""
        del self._holder.get_image_features
        self._kept.clear()

    @contextmanager
    def of(self, keys: Sequence[bytes] | None) -> Iterator[None]:
        """Answers by the cache for one batch, whose keys these are; None: not by the cache."""
        self._keys = keys
        try:
            yield
        finally:
            self._keys = None

    def is_verified(self, keys: Sequence[bytes]) -> bool:
        """True if a batch such as this has been tried: of one unit, or of several."""
        return min(len(keys), 2) <= self._num_tried

    def verify(self, keys: Sequence[bytes], logits: Callable[[], Tensor]) -> None:
        """Compares the logits of a batch without the cache, while it fills, and once it is full.

        It is filled one unit at a time, which shows features that depend on their neighbours.

        Raises: ValueError if they do not agree, or if the model cannot run with the cache.
        """
        expected = logits()
        limit = TOLERANCES.get(self._dtype, ROUGH_TOLERANCE) * float(expected.abs().max())
        try:
            self._kept.clear()
            for self._one_by_one in (True, False):
                with self.of(keys):
                    found = logits()
                difference = float((found - expected).abs().max())
                if not difference <= limit:
                    raise ValueError(f"its logits differ by {difference:.2g}")
            if not self.num_computed:
                raise ValueError("its pictures come in no layout that is known here")
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            raise ValueError(" ".join(str(error).split())) from error
        self._num_tried = min(len(keys), 2)

    def _features(self, *args: Any, **kwargs: Any) -> Any:
        if not self._keys:
            return self._compute(*args, **kwargs)
        bound = self._signature.bind(*args, **kwargs).arguments
        given = {name: bound[name] for name in NAMES if bound.get(name) is not None}
        others = {name: x for name, x in bound.items() if name not in NAMES and name != "kwargs"}
        others |= bound.get("kwargs", {})
        units = units_of(given)
        if units is None or len(units.each) != len(self._keys):
            return self._compute(*args, **kwargs)
        try:
            return self._output(units, self._keys, others)
        except _MismatchError:
            if not self._num_tried:
                raise
            return self._compute(*args, **kwargs)

    def _output(self, units: Units, keys: Sequence[bytes], others: Mapping[str, Any]) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        missing = {key: place for place, key in enumerate(keys) if key not in self._kept}
        todo = list(missing.items())
        for part in [[one] for one in todo] if self._one_by_one else [todo] if todo else []:
            output = self._compute(**units.join([place for _, place in part]), **others)
            found = self._apart(output.pooler_output, len(part), bool(units.num_rows))
            self._kept |= zip((key for key, _ in part), found, strict=True)
        self.num_asked += len(keys)
        self.num_computed += len(missing)
        features = []
        for key in keys:
            self._kept.move_to_end(key)
            features.append(self._kept[key])
        self._evict()
        return BaseModelOutputWithPooling(pooler_output=self._together(features, units))

    def _apart(self, pooled: Any, number: int, is_padded: bool) -> list[Tensor]:
        """The features of each unit, in memory of its own."""
        import torch

        self._is_tensor = isinstance(pooled, torch.Tensor)
        if is_padded:
            whole = pooled.flatten(0, -2) if self._is_tensor else torch.cat(list(pooled))
            pooled = whole if len(whole) % number else whole.unflatten(0, (number, -1))
        if len(pooled) != number:
            raise _MismatchError(f"{len(pooled)} features of {number} pictures")
        return [feature.clone() for feature in pooled]

    def _together(self, features: Sequence[Tensor], units: Units) -> Any:
        """Features as the model gives them."""
        import torch

        if not units.num_rows:
            return torch.stack(list(features)) if self._is_tensor else tuple(features)
        if self._is_tensor:
            return torch.stack(list(features))
        empty = features[0][:0]
        return [
            torch.cat(
                [empty, *(x for x, at in zip(features, units.rows, strict=True) if at == row)]
            )
            for row in range(units.num_rows)
        ]

    def _evict(self) -> None:
        num_bytes = sum(feature.nbytes for feature in self._kept.values())
        while num_bytes > self._max_bytes:
            _, feature = self._kept.popitem(last=False)
            num_bytes -= feature.nbytes
