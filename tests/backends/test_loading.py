"""Adapters, processors of other folders, and damaged files, for both local backends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vlmbench.backends import checkpoint, idefics2, transformers
from vlmbench.backends.registry import open_backend
from vlmbench.backends.settings import Idefics2Settings as Settings
from vlmbench.backends.settings import TransformersSettings
from vlmbench.errors import VlmbenchError
from vlmbench.schema import Request

BACKENDS = [idefics2, transformers]
PROCESSOR = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")
LAYER = "model.text_model.layers.0.mlp.down_proj"


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    """A LoRA adapter of the tiny checkpoint, in peft's files."""
    return write_adapter(tmp_path / "adapter", base=str(tiny))


def write_adapter(folder: Path, base: str, seed: int = 0) -> Path:
    folder.mkdir()
    config = {
        **{"peft_type": "LORA", "r": 2, "lora_alpha": 16, "target_modules": ["down_proj"]},
        **{"base_model_name_or_path": base, "layers_to_transform": [0]},
        "layers_pattern": "text_model.layers",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(seed)
    shapes = {"A": (2, 64), "B": (48, 2)}
    halves = {half: torch.randn(shape, generator=generator) for half, shape in shapes.items()}
    named = {f"base_model.model.{LAYER}.lora_{half}.weight": t for half, t in halves.items()}
    save_file(named, folder / "adapter_model.safetensors")
    return folder


def merged(base: Path, adapter: Path, folder: Path) -> Path:
    """The base with the adapter in its weights, by hand."""
    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    a, b = load_file(adapter / "adapter_model.safetensors").values()
    tensors[f"{LAYER}.weight"] += 8 * b @ a  # 16 / 2
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.filterwarnings("default")  # peft's own
@pytest.mark.parametrize("backend", ["idefics2", "transformers"])
def test_an_adapter_answers_like_its_merged_model_wherever_it_lies(
    backend: str,
    tiny: Path,
    adapter: Path,
    tmp_path: Path,
    asked: list[Request],
    capsys: pytest.CaptureFixture[str],
) -> None:
    beside = Path(shutil.copytree(tiny, tmp_path / "beside"))
    shutil.copytree(adapter, beside, dirs_exist_ok=True)

    def answers(model: Path, **settings: Any) -> list[str | None]:
        opened = open_backend(f"{backend}:{model}", device="cpu", **settings)
        texts = {answer.id: answer.text for answer in opened.generate(asked[:4])}
        opened.close()
        return [texts[id] for id in sorted(texts)]

    expected = answers(merged(tiny, adapter, tmp_path / "merged"))
    assert expected != answers(tiny)
    assert answers(adapter) == answers(beside) == answers(tiny, adapter=str(adapter)) == expected
    told = capsys.readouterr().err
    assert told.count("has an adapter beside its weights, which is applied to them") == 1


@pytest.mark.parametrize("module", BACKENDS)
def test_identity_has_base_and_adapter(
    module: Any, tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    plain = module.identity(str(tiny), module.Settings())
    named = module.identity(str(tiny), module.Settings(adapter=str(adapter)))
    alone = module.identity(str(adapter), module.Settings())
    assert "adapter" not in plain
    assert {key for key in named if plain.get(key) != named[key]} == {"adapter"}
    assert {key for key in alone if named[key] != alone[key]} == {"spec"}
    other = write_adapter(tmp_path / "other", base=str(tiny), seed=1)
    changed = module.identity(str(tiny), module.Settings(adapter=str(other)))
    assert {key for key in named if named[key] != changed[key]} == {"adapter"}
    found = checkpoint.find(str(adapter))
    assert found.weights_digest == f"{plain['weights']}+{named['adapter']}"
    assert found.adapted == {"adapter": str(adapter), "base": str(tiny)}


@pytest.mark.parametrize("module", BACKENDS)
def test_a_processor_of_another_folder_counts_in_the_identity(
    module: Any, tiny: Path, copy: Path
) -> None:
    plain = module.identity(str(tiny), module.Settings())
    own = module.identity(str(tiny), module.Settings(processor=str(tiny)))
    assert own == plain
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + " ")
    other = module.identity(str(tiny), module.Settings(processor=str(copy)))
    assert {key for key in plain if plain[key] != other[key]} == {"files"}


@pytest.mark.parametrize("backend", ["idefics2", "transformers"])
def test_a_trainers_checkpoint_runs_with_the_processor_of_another_folder(
    backend: str, tiny: Path, copy: Path, asked: list[Request]
) -> None:
    for path in copy.iterdir():
        if path.name not in ("config.json", "generation_config.json", "model.safetensors"):
            path.unlink()

    def answers(model: Path, **settings: Any) -> dict[str, str | None]:
        opened = open_backend(f"{backend}:{model}", device="cpu", **settings)
        texts = {answer.id: answer.text for answer in opened.generate(asked[:4])}
        opened.close()
        return texts

    assert answers(copy, processor=str(tiny)) == answers(tiny)
    with pytest.raises(VlmbenchError, match=r"has no tokenizer\.json.*: give --processor a folder"):
        answers(copy)


@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", "pointer", "model.safetensors is a Git-LFS pointer"),
        ("tokenizer.json", "pointer", ""),
        ("config.json", "pointer", "config.json is a Git-LFS pointer"),
        ("model.safetensors", "cut", "is cut short; get it again"),
        ("model.safetensors", "cut in the header", "it is cut short: 100 bytes; get it again"),
        ("model.safetensors", "named and missing", "which model.safetensors.index.json names"),
    ],
)
def test_a_damaged_file_is_one_line_before_anything_is_loaded(
    module: Any, name: str, damage: str, message: str, copy: Path
) -> None:
    path = copy / name
    whole = path.read_bytes()
    match damage:
        case "pointer":
            path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        case "cut":
            path.write_bytes(whole[:-10])
        case "cut in the header":
            path.write_bytes(whole[:100])
        case _:
            path.unlink()
            index = {"weight_map": {"lm_head.weight": name}}
            (copy / f"{name}.index.json").write_text(json.dumps(index))
    with pytest.raises(VlmbenchError) as raised:
        module.identity(str(copy), module.Settings())
        module.open(str(copy), module.Settings(device="cpu"))
    assert "\n" not in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "names no base model|does not name its base model"),
        ({"base_model_name_or_path": "./gone"}, r"the base model of .*gone.*--adapter"),
    ],
)
def test_an_adapter_without_its_base_says_how_to_name_it(
    module: Any, content: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **content}))
    with pytest.raises(VlmbenchError, match=message):
        module.identity(str(tmp_path), module.Settings())
    with pytest.raises(VlmbenchError, match=r"has no adapter_config\.json: it holds no adapter"):
        (tmp_path / "empty").mkdir()
        checkpoint.find("tiny", Settings(adapter=str(tmp_path / "empty")))


QUANTISED = {"quant_method": "awq", "bits": 4}


def test_a_quantised_checkpoint_names_the_backend_that_runs_it(copy: Path) -> None:
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(content | {"quantization_config": QUANTISED}))
    expected = r"quantised with AWQ, 4 bits;.*gptqmodel installed .*--model transformers:"
    with pytest.raises(VlmbenchError, match=expected):
        idefics2.forecast(str(copy), Settings())
    with pytest.raises(VlmbenchError, match=expected):
        idefics2.open(str(copy), Settings(device="cpu"))


@pytest.mark.parametrize("mark", [".absmax", ".SCB", ".qweight"])
def test_quantised_weights_without_their_config_are_refused(copy: Path, mark: str) -> None:
    """Else they are taken for plain ones, and the answers are noise."""
    path = copy / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[name.removesuffix(".weight") + mark] = torch.zeros(2)
    save_file(tensors, path, metadata={"format": "pt"})
    expected = r"are quantised \(.*, but config\.json has no quantization_config: put back"
    with pytest.raises(VlmbenchError, match=expected):
        transformers.open(str(copy), TransformersSettings(device="cpu"))
