"""Pictures are decoded ahead, but not too far, and encoded once while they are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from idefics2.engine.encoder_cache import Encoder, Loader
from idefics2.engine.request import Picture, pictures_of
from idefics2.engine.stats import Work
from idefics2.images import PackedImages
from idefics2.model import Idefics2


class Shelf:
    """Pictures of one patch each, that note when they are decoded."""

    def __init__(self, number: int, patches: int = 1) -> None:
        self.loaded: list[str] = []
        self.changed = threading.Condition()
        self.pictures = [self._picture(f"{n:02d}", patches) for n in range(number)]

    def _picture(self, digest: str, patches: int) -> Picture:
        def load() -> PackedImages:
            with self.changed:
                self.loaded.append(digest)
                self.changed.notify()
            return PackedImages(
                torch.zeros((patches, 48), dtype=torch.uint8), torch.tensor([[1, patches]])
            )

        return Picture(digest=digest, num_slots=3, load=load)

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
    loader = Loader(threads, num_threads=2, max_patches=1000)
    loader.expect(shelf.pictures)
    shelf.wait_for(2)  # any size is possible before the first is there
    loader.take(shelf.pictures[0])
    shelf.wait_for(11)  # ten of the size of the first have room
    for picture in shelf.pictures[1:6]:
        loader.take(picture)
    shelf.wait_for(16)
    threads.submit(int).result()  # whatever else was begun is done by now
    assert shelf.loaded == [picture.digest for picture in shelf.pictures[:16]]


def test_a_picture_that_is_skipped_makes_room_and_one_that_comes_again_is_decoded_again(
    threads: ThreadPoolExecutor,
) -> None:
    shelf = Shelf(6)
    loader = Loader(threads, num_threads=2, max_patches=1)
    loader.expect(shelf.pictures)
    for number in (0, 3, 4, 5, 3, 1):
        packed = loader.take(shelf.pictures[number]).packed
        assert packed.grid_I2.tolist() == [[1, 1]]
    threads.submit(int).result()
    assert shelf.loaded.count("03") == 2
    assert {"00", "01", "03", "04", "05"} <= set(shelf.loaded)


@pytest.fixture
def make_encoder(
    small_model: Idefics2, threads: ThreadPoolExecutor
) -> Callable[..., tuple[Encoder, Work]]:
    def make(max_patches: int = 100, max_tokens: int = 100) -> tuple[Encoder, Work]:
        work = Work()
        loader = Loader(threads, 1, 1000)
        encoder = Encoder(
            small_model,
            loader,
            work,
            max_patches=max_patches,
            max_tokens=max_tokens,
            one_by_one=False,
        )
        return encoder, work

    return make


def prompt_pictures(model: Idefics2, make_case: Callable[..., Any]) -> tuple[Any, list[Picture]]:
    prompt = make_case(model.config, [(20, 36), (16, 16), (8, 40), (12, 12)]).prompt
    return prompt, list(pictures_of(prompt, model.config))


@pytest.mark.parametrize("max_patches", [1, 50, 1000])
def test_packs_give_what_encode_images_gives(
    small_model: Idefics2,
    make_case: Callable[..., Any],
    make_encoder: Callable[..., tuple[Encoder, Work]],
    max_patches: int,
) -> None:
    prompt, pictures = prompt_pictures(small_model, make_case)
    encoder, work = make_encoder(max_patches)
    costs = [encoder.want(picture) for picture in [*pictures, pictures[0]]]
    encoder.flush()
    assert [cost is None for cost in costs] == [False] * 4 + [True]
    assert work.crops_encoded == 4
    with torch.inference_mode():
        expected = small_model.encode_images(prompt.patches_PK, prompt.grid_I2)
    for picture, tokens in zip(pictures, expected, strict=True):
        torch.testing.assert_close(encoder.tokens(picture), tokens, rtol=1e-5, atol=1e-5)


def test_what_has_no_room_is_forgotten_but_never_what_was_just_asked_for(
    small_model: Idefics2,
    make_case: Callable[..., Any],
    make_encoder: Callable[..., tuple[Encoder, Work]],
) -> None:
    _, pictures = prompt_pictures(small_model, make_case)
    encoder, work = make_encoder(max_tokens=6)  # two crops' worth
    for picture in pictures[:3]:
        encoder.want(picture)
    encoder.flush()
    assert [len(encoder.tokens(picture)) for picture in pictures[:3]] == [3, 3, 3]
    encoder.want(pictures[0])
    encoder.flush()
    encoder.want(pictures[2])
    encoder.flush()
    assert work.crops_encoded == 3, "there was room for these two"
    encoder.want(pictures[1])
    encoder.flush()
    assert work.crops_encoded == 4
    assert [encoder.num_crops(picture) for picture in pictures] == [1, 1, 1, 0]
    encoder.forget(pictures[1].digest)
    assert encoder.num_crops(pictures[1]) == 0
