"""Pictures are decoded ahead, but not too far, and encoded once while they are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from idefics2.engine.encoder_cache import EncoderCache
from idefics2.engine.image_loader import ImageLoader
from idefics2.engine.request import LazyImage, images_of
from idefics2.engine.stats import EngineStats
from idefics2.images import PackedImages
from idefics2.model import Idefics2
from idefics2.prompt import Slots


class Shelf:
    """Images of one patch each, that note when they are decoded."""

    def __init__(self, number: int, patches: int = 1) -> None:
        self.loaded: list[str] = []
        self.changed = threading.Condition()
        self.images = [self._picture(f"{n:02d}", patches) for n in range(number)]

    def _picture(self, digest: str, patches: int) -> LazyImage:
        def load() -> PackedImages:
            with self.changed:
                self.loaded.append(digest)
                self.changed.notify()
            return PackedImages(
                torch.zeros((patches, 48), dtype=torch.uint8), torch.tensor([[1, patches]])
            )

        return LazyImage(digest=digest, slots=Slots((3,)), load=load)

    def wait_for(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.loaded) >= number, timeout=20)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_the_first_are_decoded_before_anybody_asks_and_no_more_than_there_is_room_for(
    threads: ThreadPoolExecutor,
) -> None:
    shelf = Shelf(30, patches=100)
    loader = ImageLoader(threads, num_threads=2, max_patches=1000)
    loader.expect(shelf.images)
    shelf.wait_for(2)  # any size is possible before the first is there
    loader.take(shelf.images[0])
    shelf.wait_for(11)  # ten of the size of the first have room
    for image in shelf.images[1:6]:
        loader.take(image)
    shelf.wait_for(16)
    threads.submit(int).result()  # whatever else was begun is done by now
    assert shelf.loaded == [image.digest for image in shelf.images[:16]]


def test_a_picture_that_is_skipped_makes_room_and_one_that_comes_again_is_decoded_again(
    threads: ThreadPoolExecutor,
) -> None:
    shelf = Shelf(6)
    loader = ImageLoader(threads, num_threads=2, max_patches=1)
    loader.expect(shelf.images)
    for number in (0, 3, 4, 5, 3, 1):
        packed = loader.take(shelf.images[number]).packed
        assert packed.grid_I2.tolist() == [[1, 1]]
    threads.submit(int).result()
    assert shelf.loaded.count("03") == 2
    assert {"00", "01", "03", "04", "05"} <= set(shelf.loaded)


@pytest.fixture
def make_encoder(
    small_model: Idefics2, threads: ThreadPoolExecutor
) -> Callable[..., tuple[EncoderCache, EngineStats]]:
    def make(max_patches: int = 100, max_tokens: int = 100) -> tuple[EncoderCache, EngineStats]:
        stats = EngineStats()
        loader = ImageLoader(threads, 1, 1000)
        encoder = EncoderCache(
            small_model,
            loader,
            stats,
            max_patches=max_patches,
            max_tokens=max_tokens,
            one_by_one=False,
        )
        return encoder, stats

    return make


def prompt_images(model: Idefics2, make_case: Callable[..., Any]) -> tuple[Any, list[LazyImage]]:
    prompt = make_case(model.config, [(20, 36), (16, 16), (8, 40), (12, 12)]).prompt
    return prompt, list(images_of(prompt, model.config))


@pytest.mark.parametrize("max_patches", [1, 50, 1000])
def test_batches_give_what_encode_images_gives(
    small_model: Idefics2,
    make_case: Callable[..., Any],
    make_encoder: Callable[..., tuple[EncoderCache, EngineStats]],
    max_patches: int,
) -> None:
    prompt, images = prompt_images(small_model, make_case)
    encoder, stats = make_encoder(max_patches)
    costs = [encoder.request(image) for image in [*images, images[0]]]
    encoder.flush()
    assert [cost is None for cost in costs] == [False] * 4 + [True]
    assert stats.num_crops_encoded == 4
    with torch.inference_mode():
        expected = small_model.encode_images(prompt.patches_PK, prompt.grid_I2)
    for image, tokens in zip(images, expected, strict=True):
        torch.testing.assert_close(encoder.tokens(image), tokens, rtol=1e-5, atol=1e-5)


def test_what_has_no_room_is_forgotten_but_never_what_was_just_asked_for(
    small_model: Idefics2,
    make_case: Callable[..., Any],
    make_encoder: Callable[..., tuple[EncoderCache, EngineStats]],
) -> None:
    _, images = prompt_images(small_model, make_case)
    encoder, stats = make_encoder(max_tokens=6)  # two crops' worth
    for image in images[:3]:
        encoder.request(image)
    encoder.flush()
    assert [len(encoder.tokens(image)) for image in images[:3]] == [3, 3, 3]
    encoder.request(images[0])
    encoder.flush()
    encoder.request(images[2])
    encoder.flush()
    assert stats.num_crops_encoded == 3, "there was room for these two"
    encoder.request(images[1])
    encoder.flush()
    assert stats.num_crops_encoded == 4
    assert [encoder.num_crops(image) for image in images] == [1, 1, 1, 0]
    encoder.evict(images[1].digest)
    assert encoder.num_crops(images[1]) == 0
