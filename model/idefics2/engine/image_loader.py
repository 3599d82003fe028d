"""Images decoded ahead of the device, in threads."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from idefics2.engine.request import LazyImage
from idefics2.images import PackedImages

FIRST_GUESS = 4900  # patches of a crop of 980 x 980, the largest of the released processor


class LoadedImage(NamedTuple):
    """A decoded image."""

    packed: PackedImages
    started_at: float
    """Start time by `time.perf_counter`."""
    seconds: float


class ImageLoader:
    """Decodes images in the order in which they are needed, some patches ahead, in threads."""

    def __init__(self, threads: ThreadPoolExecutor, num_threads: int, max_patches: int) -> None:
        self._threads, self._num_threads, self._max_patches = threads, num_threads, max_patches
        self._expected: list[LazyImage] = []
        self._place: dict[str, int] = {}
        self._next = 0
        self._begun: dict[str, Future[LoadedImage]] = {}
        self._num_taken, self._num_patches = 0, 0

    def expect(self, images: Iterable[LazyImage]) -> None:
        """Replaces the list of images that will be needed."""
        self._skip(set(self._begun))
        self._expected = list(images)
        self._place = {image.digest: place for place, image in enumerate(self._expected)}
        self._next = 0
        self._fill()

    def take(self, image: LazyImage) -> LoadedImage:
        """Waits for an image and hands it over; those expected before it are dropped.

        Raises: whatever the image's `load` raises.
        """
        place = self._place.get(image.digest, -1)
        future = self._begun.pop(image.digest, None)
        self._skip({digest for digest in self._begun if self._place[digest] < place})
        self._next = max(self._next, place + 1)
        loaded = (future or self._threads.submit(_load, image)).result()
        self._num_taken += 1
        self._num_patches += len(loaded.packed.patches_PK)
        self._fill()
        return loaded

    def _skip(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self._begun.pop(digest).cancel()

    def _fill(self) -> None:
        """Starts decoding as many images as fit, going by the mean size so far."""
        mean = self._num_patches / self._num_taken if self._num_taken else FIRST_GUESS
        most = max(self._num_threads, int(self._max_patches / max(1.0, mean)))
        while self._next < len(self._expected) and len(self._begun) < most:
            image = self._expected[self._next]
            self._begun[image.digest] = self._threads.submit(_load, image)
            self._next += 1


def _load(image: LazyImage) -> LoadedImage:
    start = time.perf_counter()
    packed = image.load()
    return LoadedImage(packed, start, time.perf_counter() - start)
