"""LoRA and DoRA adapters as peft saves them, merged into a checkpoint's tensors as these are read.

Hu et al., 2022 (arXiv:2106.09685); Liu et al., 2024 (arXiv:2402.09353).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from idefics2.config_format import Json, read
from idefics2.files import reason

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

READ = frozenset(
    {
        *("peft_type", "lora_alpha", "use_rslora", "alpha_pattern", "init_lora_weights"),
        *("base_model_name_or_path", "revision", "trainable_token_indices"),
    }
)
"""Keys of `adapter_config.json` that matter here."""

HARMLESS = frozenset(
    {
        *("auto_mapping", "bias", "corda_config", "ensure_weight_tying", "eva_config"),
        *("exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern"),
        *("layers_to_transform", "loftq_config", "lora_bias", "lora_dropout", "lora_ga_config"),
        *("megatron_core", "modules_to_save", "peft_version", "qalora_group_size", "r"),
        *("rank_pattern", "runtime_config", "target_modules", "task_type", "use_dora"),
    }
)
"""Keys that say what the tensors show, or how they were trained. Any other must be unset."""

INITIALISATIONS = ("true", "false", "gaussian", "eva", "orthogonal")
"""Ways to draw the low-rank matrices that leave the base weights alone."""

PREFIX = "base_model.model."
WRAPPERS = (".modules_to_save", ".base_layer", ".original_module")
PARTS = re.compile(r"(.+)\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)(?:\.(weight|bias))?")
TOKENS = ".token_adapter.trainable_tokens_delta"


@dataclass(slots=True)
class _Update:
    """What changes one tensor of the base."""

    scale: float = 1.0
    down: Tensor | None = None
    """A: [rank, ...]."""
    up: Tensor | None = None
    """B: [rows, rank, ...]."""
    magnitude: Tensor | None = None
    """DoRA: the norm of each row of the result."""
    is_table: bool = False
    """An embedding's: its matrices are transposed."""
    bias: Tensor | None = None
    """Added, times `scale`."""
    rows: Tensor | None = None
    """Replace those at `row_ids`."""
    row_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in a folder."""

    folder: Path
    updates: dict[str, _Update]
    """Updates by name of the base checkpoint's tensor they change."""
    replaced: dict[str, str]
    """Tensors of the base that the adapter has whole, and their keys in its file."""

    @property
    def names(self) -> list[str]:
        """Names of all base tensors that change."""
        return [*self.updates, *self.replaced]

    def merged(self, name: str, weight: Tensor) -> Tensor:
        """A tensor of the base with what the adapter adds, in float32 or the base's wider dtype.

        Raises: ValueError where the shapes do not fit.
        """
        update = self.updates.get(name)
        if update is None:
            return weight
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        try:
            return _merged(weight, update)
        except (RuntimeError, IndexError) as error:
            where = self.folder / WEIGHTS
            raise ValueError(
                f"{where} does not fit {name} {tuple(weight.shape)}: {error}"
            ) from None


def is_adapter(folder: Path) -> bool:
    """True if a folder holds an adapter, alone or beside other files."""
    return (folder / CONFIG).is_file()


def base_of(folder: Path) -> tuple[str, str | None]:
    """The folder or hub id of the model that an adapter was trained on, and the revision.

    Raises: ValueError if the adapter does not say.
    """
    content = read(folder / CONFIG)
    base, revision = content.get("base_model_name_or_path"), content.get("revision")
    if not isinstance(base, str) or not base:
        raise ValueError(
            f"{folder / CONFIG} names no base_model_name_or_path: name the base model as the "
            f"model, and this folder with --adapter"
        )
    return base, revision if isinstance(revision, str) and revision else None


def load_adapter(folder: Path) -> Adapter:
    """Reads an adapter's files.

    Raises: ValueError for an adapter that is not LoRA or DoRA, has a setting that is not
        implemented, or whose tensors are damaged, of an unknown kind or lack their other half.
    """
    content = read(folder / CONFIG)
    _check_config(content, folder / CONFIG)
    path = folder / WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {path}: {reason(path, error)}") from error
    updates: dict[str, _Update] = {}
    replaced: dict[str, str] = {}
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{key} in {path} holds a value that is not finite")
        name = key.removeprefix(PREFIX)
        if match := PARTS.fullmatch(name):
            _take(updates, match, tensor.float())
        elif name.endswith(TOKENS):
            module = name.removesuffix(TOKENS)
            update = updates.setdefault(f"{module}.weight", _Update())
            update.rows, update.row_ids = tensor, _row_ids(content, module, path)
        else:
            for wrapper in WRAPPERS:
                name = name.replace(f"{wrapper}.", ".")
            replaced[name] = key
    for name, update in updates.items():
        module, _, leaf = name.rpartition(".")
        half = leaf == "weight" and (update.down is None) != (update.up is None)
        if half or (update.magnitude is not None and update.up is None):
            raise ValueError(f"{path} lacks a part of what it adds to {name}")
        if update.down is not None:
            update.scale = _scale(content, module, len(update.down), folder / CONFIG)
    for name, update in updates.items():
        if update.bias is not None:
            update.scale = updates[name.removesuffix("bias") + "weight"].scale
    return Adapter(folder, updates, replaced)


def _check_config(content: Json, path: Path) -> None:
    kind = content.get("peft_type")
    if kind != "LORA":
        raise ValueError(
            f"{path}: an adapter of type {kind} cannot be merged, only LoRA and DoRA (type LORA)"
        )
    start = str(content.get("init_lora_weights", True)).lower()
    if start not in INITIALISATIONS:
        raise ValueError(
            f"{path}: init_lora_weights {start!r} changed the base weights too; merge the adapter "
            "with peft (merge_and_unload) and name the merged folder"
        )
    for key, value in content.items():
        if value and key not in READ | HARMLESS:
            raise ValueError(
                f"{path}: {key} is not implemented; merge the adapter with peft "
                "(merge_and_unload) and name the merged folder"
            )


def _take(updates: dict[str, _Update], match: re.Match[str], tensor: Tensor) -> None:
    module, part, leaf = match.groups()
    if leaf == "bias":
        updates.setdefault(f"{module}.bias", _Update()).bias = tensor
        return
    update = updates.setdefault(f"{module}.weight", _Update())
    update.is_table |= part.startswith("embedding")
    if part.endswith("A"):
        update.down = tensor
    elif part.endswith("B"):
        update.up = tensor
    else:
        update.magnitude = tensor


def _scale(content: Json, module: str, rank: int, path: Path) -> float:
    """What the product of the two matrices is multiplied by."""
    alpha: Any = content.get("lora_alpha", 8)
    for pattern, other in (content.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = other
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise ValueError(f"{path}: lora_alpha must be a number, not {alpha!r}")
    return float(alpha / (rank**0.5 if content.get("use_rslora") else rank))


def _row_ids(content: Json, module: str, path: Path) -> tuple[int, ...]:
    """Which rows of a table `trainable_token_indices` names: a list, or lists by module."""
    indices = content.get("trainable_token_indices")
    if isinstance(indices, dict):
        fits = (ids for name, ids in indices.items() if f".{module}".endswith(f".{name}"))
        indices = next(fits, None)
    if not isinstance(indices, list):
        raise ValueError(f"{path} has rows of {module}, but no trainable_token_indices for it")
    return tuple(indices)


def _merged(weight: Tensor, update: _Update) -> Tensor:
    parts = (update.down, update.up, update.magnitude, update.bias, update.rows)
    down, up, magnitude, bias, rows = _to(weight, parts)
    if bias is not None:
        return weight + update.scale * bias
    if down is not None and up is not None:
        product = up.flatten(1) @ down.flatten(1)
        if update.is_table:
            product = product.T
        weight = weight + update.scale * product.reshape(weight.shape)
    if magnitude is not None:
        flat = (weight.T if update.is_table else weight).flatten(1)
        flat = flat * (magnitude.flatten() / flat.norm(dim=1))[:, None]
        weight = flat.T if update.is_table else flat.view(weight.shape)
    if rows is not None:
        weight = weight.index_copy(0, torch.tensor(update.row_ids, device=weight.device), rows)
    return weight


def _to(weight: Tensor, parts: tuple[Tensor | None, ...]) -> Iterator[Tensor | None]:
    return (None if part is None else part.to(weight.device, weight.dtype) for part in parts)
