"""Linear layers by oneDNN: torch's values and gradients, wherever it is used."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idefics2 import onednn
from idefics2.engine import Engine
from idefics2.model import Idefics2
from idefics2.onednn import MAX_ROWS, Linear, PackedLinear, PackedWeights, prepare
from idefics2.weights import load_model, save_model

CPU = "processor\t: 0\nvendor_id\t: {}\nflags\t\t: fpu avx2 {}\n\n"
INTEL, AMD = CPU.format("GenuineIntel", "avx512f"), CPU.format("AuthenticAMD", "avx512f")


@pytest.fixture(params=[AMD, INTEL], ids=["by oneDNN", "by torch"])
def is_by_onednn(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[bool]:
    """On each of two makers' processors."""
    (tmp_path / "cpuinfo").write_text(request.param)
    monkeypatch.setattr(onednn, "CPU_INFO", tmp_path / "cpuinfo")
    onednn.prefers_onednn.cache_clear()
    yield request.param == AMD and onednn.has_onednn()
    onednn.prefers_onednn.cache_clear()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of oneDNN's products."""
    shapes, product = [], onednn.product

    def called(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        shapes.append(tuple(x.shape))
        return product(x, weight, bias)

    monkeypatch.setattr(onednn, "product", called)
    return shapes


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24), (1, 24), (24,), (2, 0, 24)])
def test_values_and_gradients_are_torchs(
    is_by_onednn: bool, shape: tuple[int, ...], has_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = counted(monkeypatch)
    torch.manual_seed(0)
    layer = prepare(nn.Linear(24, 40, bias=has_bias))
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
    layer = prepare(nn.Linear(24, 40))
    x = torch.randn(24, 7, 3).transpose(0, 2)[:, ::2]
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_only_what_is_trained_gets_gradients(is_by_onednn: bool) -> None:
    layer = prepare(nn.Linear(24, 40))
    layer.weight.requires_grad_(False)
    x = torch.randn(5, 24)
    layer(x).sum().backward()
    assert layer.weight.grad is None and x.grad is None
    assert layer.bias.grad is not None and torch.equal(layer.bias.grad, torch.full((40,), 5.0))


def test_other_dtypes_are_left_to_torch(
    is_by_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = counted(monkeypatch)
    layer, x = prepare(nn.Linear(24, 40)), torch.randn(5, 24)
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
    monkeypatch.setattr(onednn, "CPU_INFO", tmp_path / "cpuinfo")
    onednn.prefers_onednn.cache_clear()
    assert not onednn.prefers_onednn()
    onednn.prefers_onednn.cache_clear()


def linears(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


def test_preparing_changes_how_layers_compute_and_nothing_else(
    is_by_onednn: bool,
    random_model: Callable[..., Idefics2],
    small: Callable[..., dict[str, Any]],
) -> None:
    model = random_model(small())
    assert all(type(layer) is nn.Linear for layer in linears(model)), (
        "the model knows nothing of it"
    )
    before, layers = dict(model.named_parameters()), linears(model)
    assert prepare(prepare(model)) is model
    assert linears(model) == layers
    assert all(type(layer) is (Linear if is_by_onednn else nn.Linear) for layer in layers)
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is parameter for name, parameter in before.items())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [type(layer) for layer in linears(other)] == [type(layer) for layer in layers]


def test_loaded_models_and_those_of_an_engine_are_prepared(
    is_by_onednn: bool,
    random_model: Callable[..., Idefics2],
    small: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    model = random_model(small())
    save_model(model, tmp_path)
    Engine(model)
    for prepared in (model, load_model(tmp_path)):
        assert {type(layer) for layer in linears(prepared)} == {
            Linear if is_by_onednn else nn.Linear
        }


@pytest.fixture
def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 40, bias=False), nn.SiLU(), nn.Linear(40, 8))


def is_packed(module: nn.Module) -> bool:
    return any(isinstance(layer, PackedLinear) for layer in module.modules())


def product(packed: PackedWeights, x: Tensor) -> Tensor:
    [module] = packed.modules(len(x))
    with torch.inference_mode():
        y: Tensor = module(x)
    return y


@pytest.mark.parametrize("num_rows", [1, 3, MAX_ROWS, MAX_ROWS + 1])
def test_products_with_packed_weights_are_those_of_the_layers(
    layers: nn.Sequential, num_rows: int
) -> None:
    packed, x = PackedWeights(layers), torch.randn(num_rows, 1, 24)
    [module] = packed.modules(num_rows)
    assert is_packed(module) == (num_rows <= MAX_ROWS)
    torch.testing.assert_close(product(packed, x), layers(x), rtol=1e-5, atol=1e-6)
    assert not is_packed(layers)


def test_packed_copies_share_all_other_parameters(
    random_model: Callable[..., Idefics2], small: Callable[..., dict[str, Any]]
) -> None:
    model = random_model(small(tie_word_embeddings=True))
    decoder, lm_head = PackedWeights(model.text_model, model.lm_head).modules(1)
    assert isinstance(lm_head, PackedLinear)
    ours = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in decoder.parameters()} <= ours
    assert decoder.get_parameter("embed_tokens.weight") is model.text_model.embed_tokens.weight


def test_the_copy_is_made_anew_only_when_the_weights_changed(
    layers: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, x = PackedWeights(layers), torch.randn(2, 24)
    before, [first] = product(packed, x), packed.modules(2)
    packed.refresh()
    assert torch.equal(product(packed, x), before)
    assert packed.modules(2) == (first,)
    layers.get_parameter("0.weight").data[3, 5] += 1e-3  # this leaves the tensor's version as it is
    packed.refresh()
    torch.testing.assert_close(product(packed, x), layers(x), rtol=1e-5, atol=1e-6)
    [second] = packed.modules(2)
    assert second is not first
    layers[2] = nn.Linear(40, 8)
    packed.refresh()
    torch.testing.assert_close(product(packed, x), layers(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (4, 6)])
def test_the_digest_changes_with_any_weight(shape: tuple[int, int]) -> None:
    weight = torch.randn(1 + shape[0] * shape[1])[1:].view(shape)  # it may begin anywhere
    for i in range(weight.numel()):
        other = weight.clone()
        other.view(-1)[i] *= 1 + 1e-6
        assert onednn._digest(other) != onednn._digest(weight)


def test_a_forward_that_somebody_replaced_is_kept(layers: nn.Sequential) -> None:
    layers[0].forward = lambda x: torch.zeros(len(x), 40)
    found = product(PackedWeights(layers), torch.randn(2, 24))
    torch.testing.assert_close(found, layers.get_parameter("2.bias").expand(2, -1))


def test_other_dtypes_and_too_large_weights_are_not_packed(
    layers: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = PackedWeights(layers.bfloat16())
    assert packed.modules(2) == (layers,)
    layers.float()
    packed.refresh()
    assert is_packed(packed.modules(2)[0])
    monkeypatch.setattr(onednn, "_memory_bytes", lambda: 8 * 1000)
    assert PackedWeights(layers).modules(2) == (layers,)
