"""Visual tokens dropped at random."""

from __future__ import annotations

import pytest

from idefics2.thinning import Thinning


def test_so_many_are_kept_of_each_crop_in_their_order() -> None:
    kept = Thinning(0.25).kept("digest", [64, 64, 10, 1])
    assert [len(crop) for crop in kept] == [16, 16, 2, 1]
    assert all(list(crop) == sorted(set(crop)) for crop in kept)
    assert all(
        0 <= index < size
        for crop, size in zip(kept, [64, 64, 10, 1], strict=True)
        for index in crop
    )
    assert kept[0] != kept[1], "each crop has a draw of its own"


def test_the_draw_is_the_pictures_and_the_seeds() -> None:
    one = Thinning(0.5, seed=1)
    assert one.kept("a", [64]) == Thinning(0.5, seed=1).kept("a", [64])
    assert one.kept("a", [64]) != one.kept("b", [64])
    assert one.kept("a", [64]) != Thinning(0.5, seed=2).kept("a", [64])


def test_every_token_is_kept_equally_often() -> None:
    counts = [0] * 16
    for picture in range(4000):
        for index in Thinning(0.25).kept(str(picture), [16])[0]:
            counts[index] += 1
    assert all(900 < count < 1100 for count in counts), counts


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_no_other_share_can_be_kept(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Thinning(share)
