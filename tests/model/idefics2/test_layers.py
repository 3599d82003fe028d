"""Normalisation, whose gradient is written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from idefics2.layers import RMSNorm


@pytest.mark.parametrize("shape", [(7, 12), (2, 3, 5, 12)])
def test_rms_norm_and_its_gradients_are_torchs(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(shape[-1], 1e-3)
    torch.nn.init.normal_(norm.weight, generator=generator)
    x = (3 * torch.randn(shape, generator=generator)).requires_grad_()
    other = x.detach().clone().requires_grad_()
    weight = norm.weight.detach().clone().requires_grad_()
    y, expected = norm(x), F.rms_norm(other, (shape[-1],), weight, 1e-3)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    towards = torch.randn(shape, generator=generator)
    torch.autograd.backward([y, expected], [towards, towards])
    torch.testing.assert_close(x.grad, other.grad)
    torch.testing.assert_close(norm.weight.grad, weight.grad)


def test_rms_norm_keeps_half_precision_and_computes_in_float32() -> None:
    x = torch.full((2, 8), 300.0, dtype=torch.float16, requires_grad=True)  # 300^2 is no float16
    y = RMSNorm(8, 1e-6).half()(x)
    assert y.dtype == torch.float16 and torch.equal(y, torch.ones_like(y))
    torch.autograd.backward(y.sum())
    assert x.grad is not None and x.grad.dtype == torch.float16 and x.grad.abs().max() < 1e-3
