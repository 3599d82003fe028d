"""What makes a checkpoint this checkpoint, told from its files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from vlmbench.backends import checkpoint, idefics2, transformers, weight_files
from vlmbench.backends.settings import Idefics2Settings as Settings
from vlmbench.errors import VlmbenchError

COMMIT = "f0" * 20


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A hub with one checkpoint; the list has the downloads asked of it."""
    folder = Path(shutil.copytree(tiny, tmp_path / "snapshots" / COMMIT))
    (folder / "model.safetensors").unlink()
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        if name != "owner/tiny":
            raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def nudge(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[-1] += 1e-3

    return change


def rename(tensors: dict[str, torch.Tensor]) -> None:
    tensors["other"] = tensors.pop("lm_head.weight")


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["lm_head.weight"] = tensors["lm_head.weight"].T.contiguous().reshape(48, -1)


@pytest.mark.parametrize(
    "change", [nudge("lm_head.weight"), nudge("model.text_model.norm.weight"), rename, reshape]
)
def test_other_weights_have_another_digest(copy: Path, change: Any) -> None:
    before = weight_files.weights_digest(copy)
    change_weights(copy, change)
    assert weight_files.weights_digest(copy) != before


def test_equal_weights_have_one_digest_however_they_are_stored(
    tiny: Path, tmp_path: Path, copy: Path
) -> None:
    from idefics2.weights import load_model, save_model

    digest = weight_files.weights_digest(tiny)
    save_model(load_model(tiny), tmp_path / "shards", max_shard_bytes=100_000)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    assert weight_files.weights_digest(tmp_path / "shards") == digest
    change_weights(copy, lambda tensors: None)
    assert weight_files.weights_digest(copy) == digest


@pytest.mark.parametrize("name", ["lm_head.weight", "model.text_model.embed_tokens.weight"])
@pytest.mark.parametrize("place", [0, -1])
def test_large_weights_are_sampled_at_both_ends_of_each_tensor(
    copy: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: int
) -> None:
    monkeypatch.setattr(weight_files, "WHOLE_BYTES", 0)
    monkeypatch.setattr(weight_files, "SAMPLE_BYTES", 64)
    before = weight_files.weights_digest(copy)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[place] += 1e-3

    change_weights(copy, change)
    assert weight_files.weights_digest(copy) != before


def test_older_weight_files_have_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(bytes(100))
    before = weight_files.weights_digest(tmp_path)
    path.write_bytes(bytes(99) + b"x")
    assert weight_files.weights_digest(tmp_path) != before


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x02" + bytes(7) + b"{}", None])
def test_a_folder_without_whole_weights_is_a_mistake(copy: Path, content: bytes | None) -> None:
    path = copy / "model.safetensors"
    whole = path.read_bytes()
    path.unlink()
    if content is None:
        with pytest.raises(VlmbenchError, match="has no weights"):
            weight_files.weights_digest(copy)
        content = whole[:-1]
    path.write_bytes(content)
    if content == b"\x02" + bytes(7) + b"{}":
        assert weight_files.weights_digest(copy)  # whole, and empty
        return
    with pytest.raises(VlmbenchError, match="no whole safetensors file"):
        weight_files.weights_digest(copy)


@pytest.mark.parametrize("module", [idefics2, transformers])
def test_identity_changes_with_what_can_change_an_answer(module: Any, copy: Path) -> None:
    settings = module.Settings()
    before = module.identity(str(copy), settings)
    json.dumps(before)
    same = [
        replace(settings, batch_size=3),
        replace(settings, device="cpu"),
        replace(settings, seed=4),  # greedy decoding draws nothing
        replace(settings, split_images=False),  # what the checkpoint says
    ]
    assert all(module.identity(str(copy), given) == before for given in same)
    others = [
        replace(settings, split_images=True),
        replace(settings, dtype="float32"),
        replace(settings, temperature=0.5),
        replace(settings, temperature=0.5, seed=4),
        replace(settings, temperature=0.5, top_p=0.5),
    ]
    found = [json.dumps(module.identity(str(copy), given)) for given in others]
    assert len({json.dumps(before), *found}) == 1 + len(others)
    for file in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        last = module.identity(str(copy), settings)
        (copy / file).write_text((copy / file).read_text() + " ")
        changed = module.identity(str(copy), settings)
        assert {key for key in last if last[key] != changed[key]} == {"files"}
    last = module.identity(str(copy), settings)
    change_weights(copy, nudge("lm_head.weight"))
    changed = module.identity(str(copy), settings)
    assert {key for key in last if last[key] != changed[key]} == {"weights"}


def test_identity_loads_no_heavy_package(tiny: Path) -> None:
    code = (
        "import sys; from vlmbench.backends import idefics2, transformers\n"
        "for one in (idefics2, transformers): one.identity(sys.argv[1], one.Settings())\n"
        "print({'torch', 'transformers', 'idefics2', 'numpy', 'PIL'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_hub_checkpoint_is_told_by_its_commit(hub: list[dict[str, Any]]) -> None:
    for argument, revision in {"owner/tiny": None, "owner/tiny@v1.0": "v1.0"}.items():
        identity = idefics2.identity(argument, Settings())
        assert identity["revision"] == COMMIT
        assert identity["weights"] == ""
        assert identity["split_images"] is False
        assert hub[-1]["name"] == "owner/tiny"
        assert hub[-1]["revision"] == revision
        assert not any(pattern.endswith("safetensors") for pattern in hub[-1]["allow_patterns"])


def test_a_checkpoint_that_is_nowhere_is_a_mistake(
    hub: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VlmbenchError, match="owner/other is no folder, nor to be had"):
        checkpoint.find("owner/other")

    def offline(name: str, **_: Any) -> str:
        raise LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(VlmbenchError, match=r"no connection$"):
        checkpoint.find("owner/tiny")


@pytest.mark.parametrize("argument", ["none", "./none", "/none/at/all", "a/b/c", "a b/c", "a/b@"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_seen_at_once(argument: str) -> None:
    for module in (idefics2, transformers):
        with pytest.raises(VlmbenchError, match=f"no folder '{argument}'; a checkpoint on the hub"):
            module.check(argument)
