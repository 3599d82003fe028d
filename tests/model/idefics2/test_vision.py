"""Positions of patches, and images that share a sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from idefics2.config import VisionConfig
from idefics2.vision import (
    Packing,
    VisionTower,
    attend_within_images,
    buckets,
    position_ids,
)

SIDE = 70
BELOW_EXACT = {
    25: [5, 10, 15, 20],
    49: [7, 14, 28, 35],
    50: [5, 10, 15, 20, 30, 40],
    55: [11, 22, 33, 44],
}
"""The counts of patches, and which of them, that floor(i * 70 / count) puts one bucket higher."""


def test_buckets_are_exact_but_for_18_that_float32_puts_one_below() -> None:
    for count in range(1, SIDE + 1):
        exact = [i * SIDE // count for i in range(count)]
        for i in BELOW_EXACT.get(count, []):
            exact[i] -= 1
        assert buckets(count, SIDE).tolist() == exact, count


def test_buckets_are_the_release_time_formula_rounded_once() -> None:
    """That is bucketize(arange(0, 1 - 1e-6, 1 / count), arange(1 / 70, 1, 1 / 70), right=True)."""
    boundaries = np.array([k * (1 / SIDE) for k in range(1, SIDE)], dtype=np.float32)
    for count in range(1, SIDE + 1):
        step = float(np.float32(1) / np.float32(count))
        coordinates = np.array([i * step for i in range(count)], dtype=np.float32)
        expected = np.searchsorted(boundaries, coordinates, side="right")
        assert buckets(count, SIDE).tolist() == expected.tolist(), count


def test_position_ids_equal_those_that_transformers_looks_up() -> None:
    from transformers.models.idefics2.configuration_idefics2 import Idefics2VisionConfig
    from transformers.models.idefics2.modeling_idefics2 import Idefics2VisionEmbeddings

    config = Idefics2VisionConfig(hidden_size=1, image_size=SIDE, patch_size=1)
    theirs = Idefics2VisionEmbeddings(config)
    with torch.no_grad():
        for parameter in theirs.patch_embedding.parameters():
            parameter.zero_()
        theirs.position_embedding.weight[:, 0] = torch.arange(SIDE**2)
    for rows in range(1, SIDE + 1):
        columns = SIDE + 1 - rows
        image, mask = torch.zeros(1, 3, rows, columns), torch.ones(1, rows, columns).bool()
        with torch.inference_mode():
            looked_up = theirs(image, mask)[0, :, 0].long()
        assert torch.equal(position_ids(rows, columns, SIDE), looked_up), rows


def test_packed_images_have_the_features_of_each_alone() -> None:
    torch.manual_seed(0)
    config = VisionConfig(
        width=24, mlp_width=32, num_layers=2, num_heads=3, image_size=40, patch_size=4
    )
    tower = VisionTower(config)
    grid = [(3, 4), (2, 6), (5, 5), (1, 1), (10, 7)]  # two neighbours of 12 patches are one run
    crops = [torch.randn(rows * columns, config.patch_values) for rows, columns in grid]

    def features(chosen: list[int]) -> torch.Tensor:
        packing = Packing.of([len(crops[i]) for i in chosen], torch.device("cpu"))
        packed: torch.Tensor = tower(
            torch.cat([crops[i] for i in chosen]), [grid[i] for i in chosen], packing
        )
        return packed

    with torch.inference_mode():
        alone = torch.cat([features([i]) for i in range(len(grid))])
        torch.testing.assert_close(features([0, 1, 2, 3, 4]), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_varlen_attention_on_cuda_matches_attention_image_by_image() -> None:
    torch.manual_seed(0)
    packing = Packing.of([12, 12, 700, 1], torch.device("cuda"))
    q, k, v = torch.randn(3, 725, 16, 72, device="cuda", dtype=torch.bfloat16)
    varlen = attend_within_images(q, k, v, packing).float()
    exact = attend_within_images(q.float(), k.float(), v.float(), packing)
    assert (varlen - exact).abs().max() < 0.02  # bfloat16 keeps 8 bits of values of about 1
