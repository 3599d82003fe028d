"""Quantised checkpoints: told from their config or tensors, and refused with the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from idefics2.config_format import Json


class Method(NamedTuple):
    """A way to quantise."""

    name: str
    package: str
    """What transformers needs to run it; empty: nothing further."""


METHODS = {
    "awq": Method("AWQ", "gptqmodel"),
    "gptq": Method("GPTQ", "gptqmodel and optimum"),
    "bitsandbytes": Method("bitsandbytes", "bitsandbytes and accelerate"),
    "fp8": Method("fp8", ""),
    "fbgemm_fp8": Method("fp8", "fbgemm-gpu"),
    "compressed-tensors": Method("compressed-tensors", "compressed-tensors"),
    "torchao": Method("torchao", "torchao"),
    "hqq": Method("HQQ", "hqq"),
    "quanto": Method("quanto", "optimum-quanto"),
    "eetq": Method("EETQ", "eetq"),
    "aqlm": Method("AQLM", "aqlm"),
    "auto-round": Method("AutoRound", "auto-round"),
}
"""Methods by `quant_method` of `quantization_config`; packages as in transformers 5."""

SUFFIXES = {
    ".g_idx": "gptq",
    ".qzeros": "awq",
    ".absmax": "bitsandbytes",
    ".SCB": "bitsandbytes",
    ".weight_packed": "compressed-tensors",
    ".weight_scale_inv": "fp8",
}
"""Tensors beside a layer's weight; GPTQ's has all that AWQ's has, so it comes first."""

CONFIG_KEYS = ("quantization_config", "compression_config")


def refuse_config(content: Json, parts: tuple[str, ...]) -> None:
    """Raises: ValueError if a `config.json` or one of its parts says that weights are quantised."""
    for holder in (content, *(content.get(part) for part in parts)):
        for key in CONFIG_KEYS:
            found = holder.get(key) if isinstance(holder, dict) else None
            if found is not None:
                raise ValueError(f"its weights are quantised {_how(found)}; {_way_out(found)}")


def refuse_tensors(dtypes: Mapping[str, str], where: object) -> None:
    """Raises: ValueError if tensors, by name with their dtypes, are quantised."""
    kinds = [
        kind for suffix, kind in SUFFIXES.items() if any(name.endswith(suffix) for name in dtypes)
    ]
    if any(dtype.startswith("F8_") for dtype in dtypes.values()):
        kinds.append("fp8")
    if kinds:
        found = {"quant_method": kinds[0]}
        raise ValueError(
            f"{where}: its weights are quantised {_how(found)}, but config.json has no "
            f"quantization_config: put back the one that they came with; {_way_out(found)}"
        )


def _how(found: object) -> str:
    """Such as "with AWQ, 4 bits"."""
    if not isinstance(found, dict) or "quant_method" not in found:
        return "in a way that config.json does not name"
    method = str(found["quant_method"])
    bits = found.get("bits") or (4 if found.get("load_in_4bit") else None)
    bits = bits or (8 if found.get("load_in_8bit") else None)
    return f"with {_method(method).name}" + (f", {bits} bits" if isinstance(bits, int) else "")


def _way_out(found: object) -> str:
    method = _method(str(found.get("quant_method")) if isinstance(found, dict) else "")
    needs = f", with {method.package} installed" if method.package else ""
    return (
        f"this code reads unquantised ones only, and transformers runs these{needs} "
        "(vlmbench run --model transformers:CHECKPOINT)"
    )


def _method(name: str) -> Method:
    return METHODS.get(name, Method(name, ""))
