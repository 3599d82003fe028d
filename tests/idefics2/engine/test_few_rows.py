"""Products of few rows in oneDNN's layout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from idefics2.engine.few_rows import MAX_ROWS, FewRows


@pytest.fixture
def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 40, bias=False), nn.SiLU(), nn.Linear(40, 8))


def few_rows(layers: nn.Module) -> FewRows:
    found = FewRows.of(layers)
    if found is None:
        pytest.skip("this machine's torch has no oneDNN")
    return found


@pytest.mark.parametrize("num_rows", [1, 3, MAX_ROWS, MAX_ROWS + 1])
def test_products_are_those_of_the_layers(layers: nn.Sequential, num_rows: int) -> None:
    x = torch.randn(num_rows, 1, 24)
    expected = layers(x)
    with torch.inference_mode(), few_rows(layers).used(num_rows):
        assert ("forward" in layers[0].__dict__) == (num_rows <= MAX_ROWS)
        torch.testing.assert_close(layers(x), expected, rtol=1e-5, atol=1e-6)
    assert not any("forward" in layer.__dict__ for layer in layers)


def test_weights_that_were_trained_meanwhile_are_packed_anew(layers: nn.Sequential) -> None:
    packed, x = few_rows(layers), torch.randn(2, 24)
    for _ in range(2):
        with torch.inference_mode(), packed.used(2):
            y = layers(x)
        torch.testing.assert_close(y, layers(x), rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            layers.get_parameter("0.weight").mul_(2)


def test_an_error_leaves_the_layers_as_they_were(layers: nn.Sequential) -> None:
    with pytest.raises(RuntimeError, match="stop"), few_rows(layers).used(2):
        raise RuntimeError("stop")
    assert not any("forward" in layer.__dict__ for layer in layers)


def test_other_numbers_and_too_large_weights_are_left_to_torch(
    layers: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FewRows.of(layers.bfloat16()) is None
    monkeypatch.setattr("idefics2.engine.few_rows._memory_bytes", lambda: 8 * 1000)
    assert FewRows.of(layers.float()) is None
