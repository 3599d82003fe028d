"""Checkpoints: names and shapes, both directions to transformers, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from idefics2 import weights
from idefics2.config import IDEFICS2_8B, Idefics2Config
from idefics2.model import Idefics2
from idefics2.weights import checkpoint_shapes, load_model, resolve, save_model


def test_the_8b_has_the_released_names_shapes_order_and_size() -> None:
    from transformers import Idefics2Config as TheirConfig
    from transformers import Idefics2ForConditionalGeneration

    with torch.device("meta"):
        ours = Idefics2(IDEFICS2_8B)
        theirs = Idefics2ForConditionalGeneration(TheirConfig.from_dict(IDEFICS2_8B.to_json()))
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    assert list(checkpoint_shapes(ours).items()) == list(shapes.items())
    assert len(shapes) == 763
    assert sum(parameter.numel() for parameter in ours.parameters()) == 8_402_768_112
    sizes = {
        "vision": ours.vision_model,
        "projection": ours.connector.modality_projection,
        "resampler": ours.connector.perceiver_resampler,
        "text": ours.text_model,
        "head": ours.lm_head,
    }
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in sizes.items()} == {
        "vision": 417_792_240,
        "projection": 91_750_400,
        "resampler": 651_468_800,
        "text": 7_110_672_384,
        "head": 131_084_288,
    }


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("max_shard_bytes", [5_000_000_000, 20_000])
def test_transformers_loads_what_we_save(
    is_tied: bool,
    max_shard_bytes: int,
    tmp_path: Path,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
    make_case: Callable[..., Any],
    assert_same_logits: Callable[..., None],
) -> None:
    from transformers import Idefics2ForConditionalGeneration

    ours = random_model(small(tie_word_embeddings=is_tied))
    save_model(ours, tmp_path, max_shard_bytes=max_shard_bytes)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 3) == (max_shard_bytes == 20_000)
    loaded: Any = Idefics2ForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True
    )
    theirs, report = loaded
    assert not any(report.values()), report
    assert_same_logits(ours, theirs, [make_case(ours.config, (3, (20, 36), 4))])


@pytest.mark.parametrize("architecture", ["autoregressive", "cross_attention"])
def test_saved_weights_come_back_bit_by_bit_from_one_shard_or_many(
    architecture: str,
    tmp_path: Path,
    small: Callable[..., dict[str, Any]],
    random_model: Callable[..., Idefics2],
) -> None:
    model = random_model(small(architecture=architecture))
    for name, size in (("one", 5_000_000_000), ("many", 20_000)):
        save_model(model, tmp_path / name, max_shard_bytes=size)
        loaded = load_model(tmp_path / name)
        assert loaded.config == model.config
        for (name, saved), (_, got) in zip(
            model.named_parameters(), loaded.named_parameters(), strict=True
        ):
            assert torch.equal(saved, got), name


def test_shards_keep_to_their_size(
    tmp_path: Path, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    save_model(random_model(small()), tmp_path, max_shard_bytes=40_000)
    sizes = [
        sum(tensor.nbytes for tensor in load_file(path).values())
        for path in tmp_path.glob("*.safetensors")
    ]
    assert max(sizes) <= 40_000
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(sizes)


def test_weights_are_loaded_in_the_dtype_asked_for(
    tmp_path: Path, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    model = random_model(small())
    save_model(model, tmp_path)
    loaded = load_model(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight.to(torch.bfloat16))


def test_a_loaded_model_does_not_hang_on_its_files(
    tmp_path: Path, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    model = random_model(small())
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


PEAK_WHILE_LOADING = """
import sys, torch
from pathlib import Path
from idefics2.weights import load_model

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

torch.set_num_threads(1)
load_model(sys.argv[1], dtype=torch.bfloat16)  # what torch loads at first use is not counted
Path("/proc/self/clear_refs").write_text("5")
before = peak()
model = load_model(sys.argv[2], dtype=torch.bfloat16)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's peak memory")
def test_loading_takes_the_memory_of_the_model_and_one_shard(
    tmp_path: Path, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    save_model(random_model(small()), tmp_path / "small")
    text = {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 3}
    with torch.device("meta"):
        content = small(text=text, perceiver={"hidden_size": 512})
        model = Idefics2(Idefics2Config.from_json(content)).to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    save_model(model, tmp_path / "large", max_shard_bytes=10_000_000)
    files = sum(path.stat().st_size for path in (tmp_path / "large").glob("*.safetensors"))
    folders = [str(tmp_path / name) for name in ("small", "large")]
    command = [sys.executable, "-c", PEAK_WHILE_LOADING, *folders]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = int(run.stdout) * 1024
    # the model, which bfloat16 halves, a shard, and 5 MB for Python's own objects
    assert files / 2 < peak < files / 2 + 10_000_000 + 5_000_000


@pytest.mark.parametrize(("config_rows", "file_rows"), [(32003, 32002), (32002, 32003)])
def test_the_base_models_table_may_have_a_row_less_or_more_than_its_config(
    config_rows: int, file_rows: int, tmp_path: Path, small: Callable[..., dict[str, Any]]
) -> None:
    text = {"vocab_size": file_rows, "hidden_size": 8}
    model = Idefics2(Idefics2Config.from_json(small(text=text, perceiver={"hidden_size": 8})))
    save_model(model, tmp_path)
    edit_config(tmp_path, vocab_size=config_rows)
    assert load_model(tmp_path).config.text.vocab_size == file_rows


def test_any_other_size_of_the_table_is_refused(
    tmp_path: Path, small: Callable[..., dict[str, Any]], random_model: Callable[..., Idefics2]
) -> None:
    save_model(random_model(small()), tmp_path)
    edit_config(tmp_path, vocab_size=121)
    with pytest.raises(ValueError, match=r"shape \(120, 48\), not \(121, 48\)"):
        load_model(tmp_path)


def test_a_folder_resolves_to_itself(tmp_path: Path) -> None:
    assert resolve(tmp_path) == tmp_path
    with pytest.raises(ValueError, match="revision 'main' is for hub ids"):
        resolve(tmp_path, "main")


def test_a_hub_id_is_downloaded_at_its_revision_without_pickles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **arguments: Any) -> str:
        asked.update(arguments, name=name)
        return "/somewhere"

    monkeypatch.setattr(weights, "snapshot_download", download)
    assert resolve("HuggingFaceM4/idefics2-8b", "abc") == Path("/somewhere")
    assert (asked["name"], asked["revision"]) == ("HuggingFaceM4/idefics2-8b", "abc")
    assert asked["allow_patterns"] == ["*.safetensors", "*.json", "*.jinja", "tokenizer*"]


def test_what_is_neither_folder_nor_on_the_hub_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def download(name: str, **arguments: Any) -> str:
        raise FileNotFoundError("no such snapshot\nsome advice")

    monkeypatch.setattr(weights, "snapshot_download", download)
    with pytest.raises(ValueError, match=r"^no/where is no folder, nor .* no such snapshot$"):
        resolve("no/where")


def edit_config(folder: Path, **text: Any) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["text_config"].update(text)
    path.write_text(json.dumps(content))
