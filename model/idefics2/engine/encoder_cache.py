"""Images to visual tokens: encoded in batches, each once.

Axes: P patches, K pixel values of a patch, I crops, R latents of a crop, D decoder width,
L visual tokens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from idefics2.engine.crop_cache import CropKeys, split_crops
from idefics2.engine.image_loader import ImageLoader
from idefics2.engine.limits import is_shortage
from idefics2.engine.request import LazyImage
from idefics2.engine.stats import EngineStats
from idefics2.generate import now
from idefics2.model import Idefics2

NOT_NUMBERS = (
    "the visual tokens of a picture are not numbers (NaN or infinite); float32 or bfloat16 has a "
    "wider range"
)


@dataclass(slots=True)
class EncodedImage:
    """An image and its visual tokens, which come crop by crop."""

    num_tokens: int
    """Visual tokens."""
    preprocess_s: float
    started_at: float
    """When its decoding began."""
    encode_s: float
    parts: list[Tensor]
    """Visual tokens [L, D] of its crops, in their order."""
    keys: list[CropKeys]
    """Instead of these, what cross-attention needs of the crops."""


class Crop(NamedTuple):
    """A crop that waits to be encoded."""

    digest: str
    patches_PK: Tensor
    grid: tuple[int, int]
    kept: tuple[int, ...] | None
    """As of `LazyImage`."""


class EncoderCache:
    """Visual tokens of images: encoded when a prefill step needs them, kept while there is room."""

    def __init__(
        self,
        model: Idefics2,
        loader: ImageLoader,
        stats: EngineStats,
        *,
        max_patches: int,
        max_tokens: int,
        one_by_one: bool,
        is_profiled: bool = False,
    ) -> None:
        """An empty cache.

        Args:
            model: Which encodes.
            loader: Which decodes.
            stats: Where crops and seconds are counted.
            max_patches: Of a batch of crops; a single larger crop is encoded all the same.
            max_tokens: Visual tokens that are kept beyond those that the next step needs.
            one_by_one: Whether a batch has one crop, so that no result depends on its neighbours.
            is_profiled: Whether the connector is timed apart.
        """
        self._model, self._loader, self._stats = model, loader, stats
        self._max_patches, self._max_tokens = max_patches, max_tokens
        self._one_by_one, self._is_profiled = one_by_one, is_profiled
        self._images: dict[str, EncodedImage] = {}
        self._num_crops: dict[str, int] = {}
        self._errors: dict[str, Exception] = {}
        self._spent: dict[str, float] = {}
        self._waiting: deque[Crop] = deque()
        self._requested: set[str] = set()

    def request(self, image: LazyImage) -> EncodedImage | None:
        """Has an image's tokens ready after the next `flush`; encodes nothing yet.

        Gives the image if it has to be decoded and encoded for this, None if it is cached.

        Raises: what went wrong with it before, whatever its `load` raises, or a ValueError if it
            does not take as many tokens as its slots say.
        """
        self._requested.add(image.digest)
        if image.digest in self._images:
            return None
        if image.digest in self._errors:
            raise self._errors[image.digest]
        try:
            return self._add(image)
        except Exception as error:
            self._errors[image.digest] = error
            raise

    def is_broken(self, image: LazyImage) -> bool:
        """True if image decoding/encoding failed."""
        return image.digest in self._errors

    def num_crops(self, image: LazyImage) -> int:
        """Number of its crops; 0 if it was never decoded."""
        return self._num_crops.get(image.digest, 0)

    def encode_full_batches(self) -> None:
        """Encodes what waits, as far as it fills batches."""
        while sum(len(crop.patches_PK) for crop in self._waiting) >= self._max_patches:
            self._encode()

    def flush(self) -> None:
        """Encodes what waits, then evicts what was not requested since the last call."""
        while self._waiting:
            self._encode()
        num_tokens = sum(encoded.num_tokens for encoded in self._images.values())
        for digest in [digest for digest in self._images if digest not in self._requested]:
            if num_tokens > self._max_tokens:
                num_tokens -= self._images.pop(digest).num_tokens
        self._requested.clear()

    def take_spent(self) -> dict[str, float]:
        """Seconds by image since the last call; a batch's are divided by patches."""
        spent, self._spent = self._spent, {}
        return spent

    def tokens(self, image: LazyImage) -> Tensor:
        """Visual tokens [L, D] of an image that was requested before the last `flush`."""
        encoded = self._images[image.digest]
        encoded.parts = [torch.cat(encoded.parts)] if len(encoded.parts) > 1 else encoded.parts
        return encoded.parts[0]

    def crop_keys(self, image: LazyImage) -> list[CropKeys]:
        """Keys and values of such an image's crops, for the cross-attention architecture."""
        return self._images[image.digest].keys

    def evict(self, digest: str) -> None:
        """Frees an image that no request needs any more."""
        self._images.pop(digest, None)
        self._num_crops.pop(digest, None)
        self._errors.pop(digest, None)
        self._stop_waiting(digest)

    def _add(self, image: LazyImage) -> EncodedImage:
        started = time.perf_counter()
        packed, started_at, seconds = self._loader.take(image)
        self._stats.add_seconds("image_wait", time.perf_counter() - started)
        grid = [(rows, columns) for rows, columns in packed.grid_I2.tolist()]
        config = self._model.config
        sizes = [config.image_slots(*shape) for shape in grid]
        kept = image.kept or [None] * len(grid)
        num_slots = sum(
            size if part is None else sum(index < size for index in part)
            for size, part in zip(sizes, kept, strict=True)
        )
        if num_slots != image.num_tokens:
            raise ValueError(f"an image takes {num_slots} slots, not {image.num_tokens}")
        pieces = torch.split(packed.patches_PK, [rows * columns for rows, columns in grid])
        self._waiting.extend(map(Crop, [image.digest] * len(grid), pieces, grid, kept))
        is_read = config.architecture == "cross_attention"
        num_tokens = sum(config.visual_tokens(*shape) for shape in grid) if is_read else num_slots
        encoded = EncodedImage(num_tokens, seconds, started_at, 0.0, [], [])
        self._images[image.digest] = encoded
        self._num_crops[image.digest] = len(grid)
        return encoded

    def _encode(self) -> None:
        """Encodes the crops that have waited longest, as many as fit in a batch."""
        batch = [self._waiting.popleft()]
        num_patches = len(batch[0].patches_PK)
        while self._waiting and not self._one_by_one:
            num_patches += len(self._waiting[0].patches_PK)
            if num_patches > self._max_patches:
                break
            batch.append(self._waiting.popleft())
        try:
            self._encode_batch(batch)
        except Exception as error:
            if not is_shortage(error):
                raise
            self._shrink(batch, error)

    def _encode_batch(self, batch: list[Crop]) -> None:
        device, config = self._model.device, self._model.config
        start = now(device)
        patches_PK = torch.cat([crop.patches_PK for crop in batch])
        grid_I2 = torch.tensor([crop.grid for crop in batch])
        with torch.inference_mode(), self._timed_connector():
            visual = self._model.encode_images(patches_PK, grid_I2)
        keys: list[CropKeys] = []
        if config.architecture == "cross_attention":
            keys = self._read(visual)
        seconds = now(device) - start
        sizes = [config.visual_tokens(*crop.grid) for crop in batch]
        tokens = [
            tokens_LD if crop.kept is None else tokens_LD[list(crop.kept)]
            for crop, tokens_LD in zip(
                batch, torch.split(visual.flatten(0, -2), sizes), strict=True
            )
        ]
        for number, crop in enumerate(batch):
            if keys:
                self._images[crop.digest].keys.append(keys[number])
            else:
                self._images[crop.digest].parts.append(tokens[number])
        for digest in {crop.digest for crop in batch}:
            self._images[digest].encode_s += seconds
        for crop in batch:
            part = len(crop.patches_PK) / len(patches_PK)
            self._spent[crop.digest] = self._spent.get(crop.digest, 0.0) + part * seconds
        is_finite = torch.stack([tokens_LD.isfinite().all() for tokens_LD in tokens]).tolist()
        for digest in {
            crop.digest for crop, good in zip(batch, is_finite, strict=True) if not good
        }:
            self._leave_out(digest, FloatingPointError(NOT_NUMBERS))
        self._stats.count_encoding(len(batch), seconds)

    @torch.inference_mode()
    def _read(self, latents_IRD: Tensor) -> list[CropKeys]:
        """Keys and values of crops for the gated blocks."""
        blocks = self._model.text_model.read_images(latents_IRD)
        return split_crops(blocks, latents_IRD.shape[1])

    @contextmanager
    def _timed_connector(self) -> Iterator[None]:
        if not self._is_profiled:
            yield
            return
        marks: list[float] = []
        device = self._model.device
        handle = self._model.connector.register_forward_pre_hook(
            lambda *_: marks.append(now(device))
        )
        try:
            yield
        finally:
            handle.remove()
        self._stats.add_seconds("connector", now(device) - marks[0])

    def _shrink(self, batch: list[Crop], error: Exception) -> None:
        """Halves the batches from now on; a crop that is too large alone is an error."""
        torch.cuda.empty_cache()
        num_patches = sum(len(crop.patches_PK) for crop in batch)
        if len(batch) > 1:
            self._max_patches = num_patches // 2
            self._waiting.extendleft(reversed(batch))
            self._stats.shortages.append(
                f"encoding {num_patches} patches; at most {self._max_patches} from now on"
            )
            return
        [crop] = batch
        self._stats.shortages.append(f"encoding a crop of {num_patches} patches")
        self._leave_out(crop.digest, error)

    def _leave_out(self, digest: str, error: Exception) -> None:
        """Forgets an image; the requests that want it are told why."""
        self._errors[digest] = error
        del self._images[digest]
        self._stop_waiting(digest)

    def _stop_waiting(self, digest: str) -> None:
        self._waiting = deque(crop for crop in self._waiting if crop.digest != digest)
