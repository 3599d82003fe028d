"""Weights of eight bits, by torchao, from the model in full precision: a quarter of float32.

Each row of a weight has one scale (symmetric, round to nearest); activations, products and the KV
cache stay in the model's dtype. Nothing is calibrated.
"""

from __future__ import annotations

import logging

from torch import nn

from idefics2.model import Idefics2


def quantize(model: Idefics2) -> Idefics2:
    """Turns the weights of all linear layers but the output projection into int8, in place.

    Raises: ValueError if torchao is not installed.
    """
    logging.getLogger("torchao").setLevel(logging.ERROR)  # else it tells of kernels for other GPUs
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ValueError("int8 weights need torchao: pip install torchao") from error
    quantize_(model, Int8WeightOnlyConfig(), filter_fn=_is_quantized)
    return model


def _is_quantized(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and name != "lm_head"
