"""Work that is computed from a config, against torch's own count of what runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from idefics2 import flops
from idefics2.config import IDEFICS2_8B, Idefics2Config
from idefics2.generate import Sampling, generate
from idefics2.images import ImageSettings, pack
from idefics2.model import Idefics2

VARIANT = {"model_type": "idefics2_variant"}
CHANGES: dict[str, dict[str, Any]] = {
    "released": {},
    "no resampler": {**VARIANT, "connector": "mlp"},
    "one projection": {**VARIANT, "connector": "linear"},
    "cross-attention": {**VARIANT, "architecture": "cross_attention", "cross_layer_interval": 2},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("parts", [[4, (20, 32), 3, (24, 16), 2], [7]], ids=["pictures", "text"])
@pytest.mark.parametrize("num_new", [1, 4])
def test_work_equals_torchs_count(
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_case: Callable[..., Any],
    name: str,
    parts: list[Any],
    num_new: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("idefics2.onednn.prefers_onednn", lambda: False)  # torch counts its own
    model = random_model(small(**CHANGES[name])).requires_grad_(False)
    prompt = make_case(model.config, parts).prompt
    # the CPU's fused attention is no operation that torch counts: it is taken apart
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        generate(model, [prompt], Sampling(max_new_tokens=num_new))
    grid = [(rows, columns) for rows, columns in prompt.grid_I2.tolist()]
    expected = flops.of_answer(model.config, grid, len(prompt.ids), num_new)
    assert expected.total == counter.get_total_flops()
    assert (expected.vision > 0) == bool(grid)
    assert (expected.decode > 0) == (num_new > 1)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("square", [None, 56])
@pytest.mark.parametrize("size", [(33, 50), (400, 150), (90, 201), (2, 700), (980, 980)])
def test_crops_are_those_that_are_packed(
    split: bool, square: int | None, size: tuple[int, int]
) -> None:
    images = ImageSettings(
        split=split, square=square, longest_side=280, shortest_side=42, patch_size=14
    )
    packed = pack([Image.new("RGB", size)], images)
    assert flops.crop_grid(*size, images) == [tuple(crop) for crop in packed.grid_I2.tolist()]


@pytest.mark.parametrize("size", [(1, 50), (50, 1), (1, 1)])
def test_a_picture_that_is_too_small_to_split_has_no_crops(size: tuple[int, int]) -> None:
    images = ImageSettings(split=True)
    with pytest.raises(ValueError, match="cannot be split"):
        pack([Image.new("RGB", size)], images)
    assert flops.crop_grid(*size, images) == []


def test_the_released_model_does_two_flops_a_weight_and_token_beside_attention() -> None:
    """The weights' numbers are those of the checkpoint's files; biases and norms are the 1 %."""
    grids = [flops.crop_grid(980, 980, ImageSettings(split=split)) for split in (False, True)]
    assert [flops.visual_tokens(IDEFICS2_8B, grid) for grid in grids] == [64, 320]
    work = flops.of_answer(IDEFICS2_8B, grids[0], 100, 1)
    decoder_weights = 7_110_672_384 - 32_003 * 4096  # without the table of embeddings
    assert work.prefill == pytest.approx(2 * 100 * decoder_weights, rel=0.01)
    tower_weights = 417_792_240 - 4900 * 1152  # without the table of positions
    attention = 27 * 4 * 4900**2 * 1152
    assert work.vision == pytest.approx(2 * 4900 * tower_weights + attention, rel=0.01)


def test_long_answers_cost_what_their_steps_do(small: Callable[..., dict[str, Any]]) -> None:
    config = Idefics2Config.from_json(small())
    total = flops.of_answer(config, [], 10, 6)
    steps = [flops.of_answer(config, [], length, 2).decode for length in range(10, 15)]
    assert total.decode == sum(steps)
