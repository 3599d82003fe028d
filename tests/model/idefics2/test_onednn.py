"""Linear layers by oneDNN: torch's values and gradients, wherever it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idefics2 import onednn as products
from idefics2.onednn import Linear

CPU = "processor\t: 0\nvendor_id\t: {}\nflags\t\t: fpu avx2 {}\n\n"
INTEL, AMD = CPU.format("GenuineIntel", "avx512f"), CPU.format("AuthenticAMD", "avx512f")


@pytest.fixture(params=[AMD, INTEL], ids=["by oneDNN", "by torch"])
def is_by_onednn(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[bool]:
    """On each of two makers' processors."""
    (tmp_path / "cpuinfo").write_text(request.param)
    monkeypatch.setattr(products, "CPU_INFO", tmp_path / "cpuinfo")
    products.prefers_onednn.cache_clear()
    yield request.param == AMD and products.has_onednn()
    products.prefers_onednn.cache_clear()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of oneDNN's products."""
    shapes, product = [], products.product

    def called(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        shapes.append(tuple(x.shape))
        return product(x, weight, bias)

    monkeypatch.setattr(products, "product", called)
    return shapes


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24), (1, 24), (24,), (2, 0, 24)])
def test_values_and_gradients_are_torchs(
    is_by_onednn: bool, shape: tuple[int, ...], has_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = counted(monkeypatch)
    torch.manual_seed(0)
    layer = Linear(24, 40, bias=has_bias)
    x, wanted = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 40)
    parameters = [x, *layer.parameters()]
    ours = layer(x)
    gradients = torch.autograd.grad((ours * wanted).sum(), parameters)
    theirs = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        gradients, torch.autograd.grad((theirs * wanted).sum(), parameters), rtol=1e-5, atol=1e-5
    )
    assert bool(shapes) == (is_by_onednn and x.numel() > 0)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), theirs, rtol=1e-5, atol=1e-5)


def test_rows_may_lie_anywhere_in_memory(is_by_onednn: bool) -> None:
    torch.manual_seed(0)
    layer = Linear(24, 40)
    x = torch.randn(24, 7, 3).transpose(0, 2)[:, ::2]
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_only_what_is_trained_gets_gradients(is_by_onednn: bool) -> None:
    layer = Linear(24, 40)
    layer.weight.requires_grad_(False)
    x = torch.randn(5, 24)
    layer(x).sum().backward()
    assert layer.weight.grad is None and x.grad is None
    assert layer.bias.grad is not None and torch.equal(layer.bias.grad, torch.full((40,), 5.0))


def test_other_numbers_are_left_to_torch(
    is_by_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = counted(monkeypatch)
    layer, x = Linear(24, 40), torch.randn(5, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert not shapes


@pytest.mark.parametrize("told", [None, "", "flags: avx512f", CPU.format("AuthenticAMD", "")])
def test_other_machines_leave_all_to_torch(
    told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such file, no maker, no AVX-512."""
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(products, "CPU_INFO", tmp_path / "cpuinfo")
    products.prefers_onednn.cache_clear()
    assert not products.prefers_onednn()
    products.prefers_onednn.cache_clear()


def test_the_whole_model_is_made_of_them(
    random_model: Callable[..., nn.Module], small: Callable[..., dict[str, Any]]
) -> None:
    model = random_model(small())
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert layers and all(type(layer) is Linear for layer in layers)
