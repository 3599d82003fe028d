"""Adapters: merged as peft merges them, from every place where they may lie, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

from idefics2.adapters import load_adapter
from idefics2.checkpoint import locate
from idefics2.model import Idefics2
from idefics2.weights import load_model

pytestmark = pytest.mark.filterwarnings("default")
"""peft warns of what it does by design, and asks transformers in a deprecated way."""

DECODER = r".*text_model.*(q_proj|v_proj|down_proj)"

CONFIGS: dict[str, dict[str, Any]] = {
    "LoRA by suffix": {"target_modules": ["q_proj", "v_proj", "fc1"], "lora_alpha": 12},
    "LoRA by pattern": {"target_modules": DECODER},
    "LoRA with rank stabilisation": {"target_modules": DECODER, "use_rslora": True},
    "LoRA with ranks and scales of its own": {
        "target_modules": DECODER,
        "rank_pattern": {"down_proj": 2},
        "alpha_pattern": {"layers.1.self_attn.q_proj": 32, "down_proj": 3},
    },
    "LoRA with all biases": {"target_modules": ["q_proj", "fc2"], "bias": "all"},
    "LoRA with a bias": {"target_modules": ["fc1", "fc2"], "lora_bias": True},
    "LoRA of tables and patches": {
        "target_modules": ["embed_tokens", "position_embedding", "patch_embedding", "lm_head"]
    },
    "LoRA and modules to save": {
        "target_modules": DECODER,
        "modules_to_save": ["lm_head", "modality_projection"],
    },
    "LoRA and an embedding to save": {
        "target_modules": DECODER,
        "modules_to_save": ["embed_tokens"],
    },
    "LoRA and new tokens": {"target_modules": DECODER, "trainable_token_indices": [3, 17]},
    "DoRA": {"target_modules": [*("q_proj", "v_proj", "fc1", "gate_proj")], "use_dora": True},
    "DoRA of tables and patches": {
        "target_modules": ["embed_tokens", "patch_embedding"],
        "use_dora": True,
    },
    "DoRA and modules to save": {
        "target_modules": DECODER,
        "use_dora": True,
        "modules_to_save": ["lm_head"],
    },
}


def draw(model: Any, seed: int) -> None:
    """Random values for all that an adapter trains, which it would begin with zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                scale = 0.2 if "magnitude" in name else 0.3
                parameter.add_(scale * noise)


@pytest.fixture(scope="module")
def base(
    tmp_path_factory: pytest.TempPathFactory,
    small: Callable[..., dict[str, Any]],
    theirs_of: Callable[..., Any],
) -> Path:
    """A small model as transformers saves it."""
    folder = tmp_path_factory.mktemp("base")
    theirs_of(small()).save_pretrained(folder)
    return folder


def trained(base: Path, folder: Path, **config: Any) -> Any:
    """A model with an adapter, which is saved in `folder`."""
    from transformers import Idefics2ForConditionalGeneration

    model: Any = Idefics2ForConditionalGeneration.from_pretrained(base)
    torch.manual_seed(0)  # peft draws what `draw` adds to
    adapted = get_peft_model(model, LoraConfig(r=4, **{"lora_alpha": 8, **config}))
    draw(adapted, seed=1)
    adapted.save_pretrained(str(folder))
    return adapted.eval()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_an_adapter_merges_as_in_peft(
    config: dict[str, Any],
    base: Path,
    tmp_path: Path,
    make_case: Callable[..., Any],
    our_logits: Callable[..., Any],
    assert_same_logits: Callable[..., None],
) -> None:
    theirs = trained(base, tmp_path, **config)
    ours, plain = load_model(base, adapter=load_adapter(tmp_path)), load_model(base)
    case = make_case(ours.config, (3, (20, 36), 4))
    assert_same_logits(ours, theirs, [case])
    [adapted], [unadapted] = our_logits(ours, [case]), our_logits(plain, [case])
    assert (adapted - unadapted).abs().max() > 1e-2 * unadapted.abs().max()


def test_an_adapter_may_have_a_larger_vocabulary(
    base: Path,
    tmp_path: Path,
    make_case: Callable[..., Any],
    assert_same_logits: Callable[..., None],
) -> None:
    from transformers import Idefics2ForConditionalGeneration

    model: Any = Idefics2ForConditionalGeneration.from_pretrained(base)
    model.resize_token_embeddings(125)
    saved = ["embed_tokens", "lm_head"]
    config = LoraConfig(r=4, target_modules=DECODER, modules_to_save=saved)
    torch.manual_seed(0)
    theirs = get_peft_model(model, config)
    draw(theirs, seed=2)
    theirs.save_pretrained(str(tmp_path))
    ours = load_model(base, adapter=load_adapter(tmp_path))
    assert ours.config.text.vocab_size == 125
    assert_same_logits(ours, theirs.eval(), [make_case(ours.config, (3, (20, 36), 4))])


def test_a_half_precision_model_is_merged_before_it_is_rounded(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path, target_modules=DECODER)
    adapter = load_adapter(tmp_path)
    whole, half = (
        load_model(base, adapter=adapter, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    )
    for (name, ours), (_, rounded) in zip(
        whole.named_parameters(), half.named_parameters(), strict=True
    ):
        assert torch.equal(ours.to(torch.bfloat16), rounded), name


def test_an_adapter_is_found_alone_beside_weights_and_by_name(base: Path, tmp_path: Path) -> None:
    alone, beside, copied = (tmp_path / name for name in ("alone", "beside", "copied"))
    trained(base, alone, target_modules=DECODER)
    assert locate(alone)[::2] == (base, alone)
    shutil.copytree(base, beside)
    shutil.copytree(alone, beside, dirs_exist_ok=True)
    assert locate(beside)[::2] == (beside, beside)
    shutil.copytree(alone, copied)
    shutil.copyfile(base / "config.json", copied / "config.json")
    assert locate(copied)[::2] == (base, copied)
    assert locate(base, adapter=alone)[::2] == (base, alone)
    assert locate(base)[::2] == (base, None)


def test_the_processor_is_the_adapters_the_bases_or_the_named(base: Path, tmp_path: Path) -> None:
    alone, other = tmp_path / "alone", tmp_path / "other"
    other.mkdir()
    trained(base, alone, target_modules=DECODER)
    assert locate(alone).processor == base
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (alone / name).write_text("{}")
    assert locate(alone).processor == alone
    assert locate(alone, processor=other).processor == other
    assert locate(base, processor=other) == (base, other, None)


def test_a_base_that_is_nowhere_is_refused_with_the_way_out(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    trained(base, tmp_path, target_modules=DECODER)
    edit(tmp_path, base_model_name_or_path="./gone")
    with pytest.raises(ValueError, match=rf"the base model of .*gone.*--adapter {tmp_path}"):
        locate(tmp_path)
    edit(tmp_path, base_model_name_or_path=None)
    with pytest.raises(ValueError, match=r"names no base_model_name_or_path.*--adapter"):
        locate(tmp_path)
    with pytest.raises(ValueError, match=r"has no adapter_config\.json"):
        locate(base, adapter=base)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (IA3Config(target_modules=["q_proj"], feedforward_modules=[]), "IA3"),
        (PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2), "PROMPT_TUNING"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_refused_by_name(
    config: Any, kind: str, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"an adapter of type {kind} cannot be merged, only LoRA"):
        load_adapter(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changed the base weights too"),
        ({"layer_replication": [[0, 1]]}, "layer_replication is not implemented"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is not implemented"),
        ({"a_setting_of_2031": True}, "a_setting_of_2031 is not implemented"),
        ({"lora_alpha": "8"}, "lora_alpha must be a number, not '8'"),
    ],
)
def test_a_setting_that_is_not_implemented_is_refused_by_name(
    changes: dict[str, Any], message: str, base: Path, tmp_path: Path
) -> None:
    trained(base, tmp_path, target_modules=DECODER)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_adapter(tmp_path)


A = "base_model.model.model.text_model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda t: t.pop(A), "lacks a part of what it adds to .*q_proj", id="half"),
        pytest.param(
            lambda t: t[A].__setitem__((0, 0), float("nan")), f"{A} in .* not finite", id="NaN"
        ),
        pytest.param(
            lambda t: t.update({A: torch.ones(4, 47)}), "does not fit .*q_proj.weight", id="shape"
        ),
        pytest.param(
            lambda t: t.update({A.replace("layers.0", "layers.9"): t.pop(A)}), "lacks a", id="moved"
        ),
        pytest.param(
            lambda t: t.update({f"x.lora_{half}.weight": torch.ones(4, 4) for half in "AB"}),
            "changes what the model has not: x.weight",
            id="another model's",
        ),
        pytest.param(
            lambda t: t.update({"base_model.model.model.prompt": torch.ones(4)}),
            "has what the model has not: model.prompt",
            id="unknown",
        ),
    ],
)
def test_wrong_tensors_are_refused_by_name(
    change: Callable[[dict[str, torch.Tensor]], object], message: str, base: Path, tmp_path: Path
) -> None:
    trained(base, tmp_path, target_modules=DECODER)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=message):
        load_model(base, adapter=load_adapter(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "a Git-LFS pointer"),
        (b"\x40" + bytes(7) + b"{", "it is cut short"),
        (None, "there is no such file"),
    ],
)
def test_a_damaged_file_is_named_with_the_reason(
    content: bytes | None, message: str, base: Path, tmp_path: Path
) -> None:
    trained(base, tmp_path, target_modules=DECODER)
    path = tmp_path / "adapter_model.safetensors"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot read .*{path.name}: .*{message}"):
        load_adapter(tmp_path)


def test_peft_reads_the_same_files_back(base: Path, tmp_path: Path) -> None:
    """What `test_an_adapter_merges_as_in_peft` compares with is what peft itself would load."""
    from transformers import Idefics2ForConditionalGeneration

    trained(base, tmp_path, target_modules=DECODER)
    model: Any = Idefics2ForConditionalGeneration.from_pretrained(base)
    merged = PeftModel.from_pretrained(model, tmp_path).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    ours: Idefics2 = load_model(base, adapter=load_adapter(tmp_path))
    for (name, our), (_, their) in zip(
        ours.named_parameters(), load_model(tmp_path / "merged").named_parameters(), strict=True
    ):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-6, msg=name)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
