"""Pictures to visual tokens: decoded ahead in threads, encoded in packs, each once.

Axes: P patches, K pixel values of a patch, I crops, D decoder width, L visual tokens of a picture.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from idefics2.engine.memory import is_shortage, now
from idefics2.engine.request import Picture
from idefics2.engine.stats import Work
from idefics2.images import PackedImages
from idefics2.model import Idefics2

FIRST_GUESS = 4900  # patches of a crop of 980 x 980, the largest of the released processor


class Loaded(NamedTuple):
    """A decoded picture."""

    packed: PackedImages
    started_at: float
    """On the clock of `time.perf_counter`."""
    seconds: float


class Loader:
    """Decodes pictures in the order in which they are needed, as far ahead as memory allows."""

    def __init__(self, threads: ThreadPoolExecutor, num_threads: int, max_patches: int) -> None:
        self._threads, self._num_threads, self._max_patches = threads, num_threads, max_patches
        self._expected: list[Picture] = []
        self._place: dict[str, int] = {}
        self._next = 0
        self._begun: dict[str, Future[Loaded]] = {}
        self._num_taken, self._num_patches = 0, 0

    def expect(self, pictures: Iterable[Picture]) -> None:
        """Tells what will be needed, in place of what was expected so far."""
        self._skip(set(self._begun))
        self._expected = list(pictures)
        self._place = {picture.digest: place for place, picture in enumerate(self._expected)}
        self._next = 0
        self._go_on()

    def take(self, picture: Picture) -> Loaded:
        """Waits for a picture and hands it over; those expected before it are needed no more.

        Raises: whatever the picture's `load` raises.
        """
        place = self._place.get(picture.digest, -1)
        future = self._begun.pop(picture.digest, None)
        self._skip({digest for digest in self._begun if self._place[digest] < place})
        self._next = max(self._next, place + 1)
        loaded = (future or self._threads.submit(_load, picture)).result()
        self._num_taken += 1
        self._num_patches += len(loaded.packed.patches_PK)
        self._go_on()
        return loaded

    def _skip(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self._begun.pop(digest).cancel()

    def _go_on(self) -> None:
        mean = self._num_patches / self._num_taken if self._num_taken else FIRST_GUESS
        most = max(self._num_threads, int(self._max_patches / max(1.0, mean)))
        while self._next < len(self._expected) and len(self._begun) < most:
            picture = self._expected[self._next]
            self._begun[picture.digest] = self._threads.submit(_load, picture)
            self._next += 1


def _load(picture: Picture) -> Loaded:
    start = time.perf_counter()
    packed = picture.load()
    return Loaded(packed, start, time.perf_counter() - start)


@dataclass(slots=True)
class Encoded:
    """A picture on its way to visual tokens, and there."""

    num_slots: int
    preprocess_s: float
    started_at: float
    """When it began to be decoded."""
    encode_s: float
    parts: list[Tensor]
    """Visual tokens [L, D], crop by crop, in their order."""


class Crop(NamedTuple):
    """A crop that waits to be encoded."""

    digest: str
    patches_PK: Tensor
    grid: tuple[int, int]


class Encoder:
    """Keeps pictures' visual tokens as long as they are needed and there is room."""

    def __init__(
        self,
        model: Idefics2,
        loader: Loader,
        work: Work,
        *,
        max_patches: int,
        max_tokens: int,
        one_by_one: bool,
        is_profiled: bool = False,
    ) -> None:
        """`one_by_one`: crops are encoded singly, so that nothing depends on their neighbours."""
        self._model, self._loader, self._work = model, loader, work
        self._max_patches, self._max_tokens = max_patches, max_tokens
        self._one_by_one, self._is_profiled = one_by_one, is_profiled
        self._pictures: dict[str, Encoded] = {}
        self._num_crops: dict[str, int] = {}
        self._errors: dict[str, Exception] = {}
        self._waiting: deque[Crop] = deque()
        self._wanted: set[str] = set()

    def want(self, picture: Picture) -> Encoded | None:
        """Sees to it that a picture's tokens are there after the next `flush`; encodes nothing yet.

        Gives its costs if this is what causes them. Raises: what went wrong with it before,
        whatever its `load` raises, or a ValueError if it does not fill its slots.
        """
        self._wanted.add(picture.digest)
        if picture.digest in self._pictures:
            return None
        if picture.digest in self._errors:
            raise self._errors[picture.digest]
        try:
            return self._add(picture)
        except Exception as error:
            self._errors[picture.digest] = error
            raise

    def is_broken(self, picture: Picture) -> bool:
        """Whether something went wrong with it."""
        return picture.digest in self._errors

    def num_crops(self, picture: Picture) -> int:
        """0 if it was never at hand."""
        return self._num_crops.get(picture.digest, 0)

    def encode_full_packs(self) -> None:
        """Encodes what waits, as far as it fills packs."""
        while sum(len(crop.patches_PK) for crop in self._waiting) >= self._max_patches:
            self._encode()

    def flush(self) -> None:
        """Encodes what waits, and then forgets what there is no room for and nobody asked for."""
        while self._waiting:
            self._encode()
        num_tokens = sum(encoded.num_slots for encoded in self._pictures.values())
        for digest in [digest for digest in self._pictures if digest not in self._wanted]:
            if num_tokens > self._max_tokens:
                num_tokens -= self._pictures.pop(digest).num_slots
        self._wanted.clear()

    def tokens(self, picture: Picture) -> Tensor:
        """Visual tokens [L, D]."""
        encoded = self._pictures[picture.digest]
        encoded.parts = [torch.cat(encoded.parts)] if len(encoded.parts) > 1 else encoded.parts
        return encoded.parts[0]

    def forget(self, digest: str) -> None:
        """Lets go of a picture that nobody will ask for again."""
        self._pictures.pop(digest, None)
        self._num_crops.pop(digest, None)
        self._errors.pop(digest, None)
        self._wait_no_more(digest)

    def _add(self, picture: Picture) -> Encoded:
        started = time.perf_counter()
        packed, started_at, seconds = self._loader.take(picture)
        self._work.add_seconds("wait", time.perf_counter() - started)
        grid = [(rows, columns) for rows, columns in packed.grid_I2.tolist()]
        num_slots = sum(self._model.config.image_slots(*shape) for shape in grid)
        if num_slots != picture.num_slots:
            raise ValueError(f"a picture takes {num_slots} slots, not {picture.num_slots}")
        pieces = torch.split(packed.patches_PK, [rows * columns for rows, columns in grid])
        self._waiting.extend(map(Crop, [picture.digest] * len(grid), pieces, grid))
        encoded = Encoded(num_slots, seconds, started_at, 0.0, [])
        self._pictures[picture.digest] = encoded
        self._num_crops[picture.digest] = len(grid)
        return encoded

    def _encode(self) -> None:
        """Encodes the crops that have waited longest, as many as are allowed."""
        pack = [self._waiting.popleft()]
        num_patches = len(pack[0].patches_PK)
        while self._waiting and not self._one_by_one:
            num_patches += len(self._waiting[0].patches_PK)
            if num_patches > self._max_patches:
                break
            pack.append(self._waiting.popleft())
        try:
            self._encode_pack(pack)
        except Exception as error:
            if not is_shortage(error):
                raise
            self._shrink(pack, error)

    def _encode_pack(self, pack: list[Crop]) -> None:
        device = self._model.device
        start = now(device)
        patches_PK = torch.cat([crop.patches_PK for crop in pack])
        grid_I2 = torch.tensor([crop.grid for crop in pack])
        with torch.inference_mode(), self._timed_connector():
            visual = self._model.encode_images(patches_PK, grid_I2)
        seconds = now(device) - start
        slots = [self._model.config.image_slots(*crop.grid) for crop in pack]
        tokens = torch.split(visual.flatten(0, -2), slots)
        for crop, tokens_LD in zip(pack, tokens, strict=True):
            self._pictures[crop.digest].parts.append(tokens_LD)
        for digest in {crop.digest for crop in pack}:
            self._pictures[digest].encode_s += seconds
        self._work.crops_encoded += len(pack)
        self._work.steps_encoding += 1
        self._work.add_seconds("encode", seconds)

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
        self._work.add_seconds("connector", now(device) - marks[0])

    def _shrink(self, pack: list[Crop], error: Exception) -> None:
        """Takes smaller packs from now on; a crop that is too large alone is an error."""
        torch.cuda.empty_cache()
        num_patches = sum(len(crop.patches_PK) for crop in pack)
        if len(pack) > 1:
            self._max_patches = num_patches // 2
            self._waiting.extendleft(reversed(pack))
            self._work.shortages.append(
                f"encoding {num_patches} patches; at most {self._max_patches} from now on"
            )
            return
        [crop] = pack
        self._work.shortages.append(f"encoding a crop of {num_patches} patches")
        self._errors[crop.digest] = error
        del self._pictures[crop.digest]
        self._wait_no_more(crop.digest)

    def _wait_no_more(self, digest: str) -> None:
        self._waiting = deque(crop for crop in self._waiting if crop.digest != digest)
