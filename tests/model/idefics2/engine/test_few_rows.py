"""Products of few rows in oneDNN's layout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import idefics2.engine.few_rows as few_rows_module
from idefics2.engine.few_rows import MAX_ROWS, FewRows
from idefics2.onednn import Linear


@pytest.fixture
def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Linear(24, 40, bias=False), nn.SiLU(), Linear(40, 8))


def is_packed(layers: nn.Module) -> bool:
    return any("forward" in vars(layer) for layer in layers.modules())


def product(few_rows: FewRows, layers: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode(), few_rows.used(len(x)):
        y: Tensor = layers(x)
    assert not is_packed(layers)
    return y


@pytest.mark.parametrize("num_rows", [1, 3, MAX_ROWS, MAX_ROWS + 1])
def test_products_are_those_of_the_layers(layers: nn.Sequential, num_rows: int) -> None:
    few_rows, x = FewRows(layers), torch.randn(num_rows, 1, 24)
    with few_rows.used(num_rows):
        assert is_packed(layers) == (num_rows <= MAX_ROWS)
    torch.testing.assert_close(product(few_rows, layers, x), layers(x), rtol=1e-5, atol=1e-6)


def test_the_copy_is_made_anew_only_when_the_weights_changed(
    layers: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_rows, x = FewRows(layers), torch.randn(2, 24)
    copies, pack = [], few_rows_module._pack

    def counted(linears: list[nn.Linear]) -> list[tuple[nn.Linear, Tensor]]:
        copies.append(len(linears))
        return pack(linears)

    monkeypatch.setattr(few_rows_module, "_pack", counted)
    before = product(few_rows, layers, x)
    few_rows.refresh()
    assert torch.equal(product(few_rows, layers, x), before)
    assert copies == [2]
    layers.get_parameter("0.weight").data[3, 5] += 1e-3  # this leaves the tensor's version as it is
    few_rows.refresh()
    torch.testing.assert_close(product(few_rows, layers, x), layers(x), rtol=1e-5, atol=1e-6)
    assert copies == [2, 2]
    layers[2] = Linear(40, 8)
    few_rows.refresh()
    torch.testing.assert_close(product(few_rows, layers, x), layers(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (4, 6)])
def test_the_digest_changes_with_any_weight(shape: tuple[int, int]) -> None:
    weight = torch.randn(1 + shape[0] * shape[1])[1:].view(shape)  # it may begin anywhere
    for i in range(weight.numel()):
        other = weight.clone()
        other.view(-1)[i] *= 1 + 1e-6
        assert few_rows_module._digest(other) != few_rows_module._digest(weight)


def test_an_error_leaves_the_layers_as_they_were(layers: nn.Sequential) -> None:
    with pytest.raises(RuntimeError, match="stop"), FewRows(layers).used(2):
        raise RuntimeError("stop")
    assert not is_packed(layers)


def test_other_numbers_and_too_large_weights_are_left_to_torch(
    layers: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_rows = FewRows(layers.bfloat16())
    with few_rows.used(2):
        assert not is_packed(layers)
    layers.float()
    few_rows.refresh()
    with few_rows.used(2):
        assert is_packed(layers)
    monkeypatch.setattr("idefics2.engine.few_rows._memory_bytes", lambda: 8 * 1000)
    with FewRows(layers).used(2):
        assert not is_packed(layers)
