"""Damaged and wrong checkpoints: each is refused, by the name of what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from idefics2.model import Idefics2
from idefics2.weights import load_model, save_model

EMBEDDINGS = "model.text_model.embed_tokens.weight"
NORM = "model.text_model.norm.weight"


@pytest.fixture
def checkpoint(
    tmp_path: Path, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> Path:
    """A folder with one file of weights."""
    save_model(random_model(small()), tmp_path)
    return tmp_path


@pytest.fixture
def sharded(
    tmp_path: Path, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> Path:
    """A folder with many files of weights and their index."""
    save_model(random_model(small()), tmp_path, max_shard_bytes=20_000)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda t: t.pop(NORM), f"lacks {NORM}$", id="missing"),
        pytest.param(
            lambda t: [t.pop(name) for name in list(t)[:9]],
            "lacks .*, .*, .* and 6 more",
            id="many",
        ),
        pytest.param(
            lambda t: t.update(extra=torch.zeros(2)),
            "has what the model has not: extra",
            id="extra",
        ),
        pytest.param(
            lambda t: t.update({NORM: torch.ones(47)}),
            rf"{NORM} in .*model.safetensors has shape \(47,\), not \(48,\)",
            id="misshapen",
        ),
        pytest.param(
            lambda t: t[NORM].__setitem__(3, float("nan")),
            f"{NORM} in .*model.safetensors holds a value that is not finite",
            id="not a number",
        ),
        pytest.param(
            lambda t: t[EMBEDDINGS][7].__setitem__(3, -float("inf")),
            f"{EMBEDDINGS} in .* holds a value that is not finite",
            id="infinite",
        ),
        pytest.param(
            lambda t: t.update({NORM: torch.ones(48, dtype=torch.int8)}),
            f"{NORM} in .* is I8, not of floating point",
            id="integers",
        ),
    ],
)
def test_wrong_tensors_are_refused_by_name(
    change: Callable[[dict[str, Tensor]], object], message: str, checkpoint: Path
) -> None:
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=message):
        load_model(checkpoint)


@pytest.mark.parametrize("num_bytes", [0, 6, 1000, 80_000], ids=lambda n: f"{n} bytes")
def test_a_truncated_file_is_refused_by_name(num_bytes: int, checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    assert path.stat().st_size > 80_000
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(ValueError, match=r"cannot read .*model\.safetensors"):
        load_model(checkpoint)


def test_a_missing_shard_is_refused_by_name(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ValueError, match=f"cannot read .*{shard.name}, which .*index.json names"):
        load_model(sharded)


def test_shards_without_an_index_are_read(sharded: Path) -> None:
    expected = load_model(sharded)
    (sharded / "model.safetensors.index.json").unlink()
    found = load_model(sharded)
    for (name, ours), (_, theirs) in zip(
        found.named_parameters(), expected.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model."])
def test_a_wrappers_prefix_before_every_name_is_left_out(prefix: str, checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    save_file({prefix + name: tensor for name, tensor in tensors.items()}, path)
    assert torch.equal(load_model(checkpoint).lm_head.weight, tensors["lm_head.weight"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "a Git-LFS pointer"),
        (b"\x40" + bytes(7) + b"{", "it is cut short: 9 of 72 bytes or more; get it again"),
        (b"\xff" * 100, "header too large"),
    ],
)
def test_a_damaged_file_is_named_with_the_reason(
    content: bytes, message: str, checkpoint: Path
) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"cannot read .*{path.name}: .*{message}"):
        load_model(checkpoint)


def test_a_tensor_in_two_shards_is_refused_by_name(sharded: Path) -> None:
    first, second = sorted(sharded.glob("*.safetensors"))[:2]
    name, tensor = next(iter(load_file(first).items()))
    save_file(load_file(second) | {name: tensor}, second)
    with pytest.raises(ValueError, match=f"{name} is in .*{first.name} and in .*{second.name}"):
        load_model(sharded)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "cannot read .*index.json"),
        ("{}", "index.json has no weight_map"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "'../model.safetensors', outside"),
    ],
)
def test_a_broken_index_is_refused(index: str, message: str, sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=message):
        load_model(sharded)


def test_pickled_weights_are_not_read(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"has neither .*its pytorch_model\.bin is a pickle"):
        load_model(checkpoint)


def test_saving_over_other_weights_is_refused(
    checkpoint: Path, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    with pytest.raises(ValueError, match=r"has weights already, such as model\.safetensors"):
        save_model(random_model(small()), checkpoint)
