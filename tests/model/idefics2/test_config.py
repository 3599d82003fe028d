"""config.json: the released files, transformers' files, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from idefics2.config import IDEFICS2_8B, Idefics2Config, PerceiverConfig, TextConfig, VisionConfig
from idefics2.weights import load_model

RELEASED: dict[str, Any] = {
    "architectures": ["Idefics2ForConditionalGeneration"],
    "image_token_id": 32001,
    "model_type": "idefics2",
    "perceiver_config": {"model_type": "idefics2"},
    "text_config": {
        "max_position_embeddings": 32768,
        "model_type": "mistral",
        "pad_token_id": 0,
        "rms_norm_eps": 1e-05,
        "vocab_size": 32003,
    },
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.39.0.dev0",
    "use_cache": True,
    "vision_config": {
        "hidden_size": 1152,
        "image_size": 980,
        "intermediate_size": 4304,
        "model_type": "idefics2",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
    },
}
"""The whole config.json of HuggingFaceM4/idefics2-8b."""

WRITTEN = sorted(Path(__file__).with_name("configs").glob("transformers_*.json"))
"""One small config, each as `Idefics2Config.save_pretrained` of that version writes it."""


def test_the_released_file_has_the_released_sizes() -> None:
    assert Idefics2Config.from_json(RELEASED) == IDEFICS2_8B
    assert IDEFICS2_8B.vision.positions_per_side == 70
    assert IDEFICS2_8B.vision.patch_values == 588


@pytest.mark.parametrize(
    ("version", "key", "epsilon"),
    [
        pytest.param("4.39.0.dev0", {}, 1e-5, id="released: the decoder's"),
        pytest.param("4.45.2", {}, 1e-5, id="last version to read the decoder's"),
        pytest.param("4.46.0", {}, 1e-6, id="first to read the perceiver's own"),
        pytest.param(None, {}, 1e-6, id="unknown version: as transformers now"),
        pytest.param("4.39.0.dev0", {"rms_norm_eps": 3e-6}, 3e-6, id="named"),
    ],
)
def test_the_perceivers_epsilon_is_the_one_of_the_code_that_wrote_the_file(
    version: str | None, key: dict[str, float], epsilon: float
) -> None:
    content = RELEASED | {"perceiver_config": key, "transformers_version": version}
    if version is None:
        del content["transformers_version"]
    assert Idefics2Config.from_json(content).perceiver.norm_eps == epsilon


def test_the_base_models_first_file_is_read() -> None:
    first = RELEASED | {
        "perceiver_config": {"model_type": "idefics2", "qk_layer_norms": False},
        "text_config": RELEASED["text_config"] | {"vocab_size": 32002},
    }
    assert Idefics2Config.from_json(first).text.vocab_size == 32002


def test_every_default_but_one_is_the_one_transformers_resolves() -> None:
    """The one: the perceiver's epsilon, see `Idefics2Config.from_json`."""
    from transformers import Idefics2Config as TheirConfig

    resolved = TheirConfig.from_dict(RELEASED).to_dict()
    theirs = Idefics2Config.from_json(resolved)
    assert theirs.perceiver.norm_eps == 1e-6
    assert replace(theirs, perceiver=PerceiverConfig(norm_eps=1e-5)) == IDEFICS2_8B


@pytest.mark.parametrize(
    "text",
    [
        pytest.param({}, id="absent"),
        pytest.param({"hidden_size": 96, "num_attention_heads": 8}, id="derived head width"),
        pytest.param({"head_dim": None, "sliding_window": None}, id="nulls"),
        pytest.param({"eos_token_id": [2, 7], "pad_token_id": None}, id="two stop ids"),
        pytest.param({"rope_theta": 5000.0}, id="rotation in the old spelling"),
    ],
)
def test_text_defaults_are_those_that_transformers_resolves(text: dict[str, Any]) -> None:
    from transformers import Idefics2Config as TheirConfig

    content: dict[str, Any] = {"model_type": "idefics2", "image_token_id": 5}
    if text:
        content["text_config"] = {"model_type": "mistral", **text}
    resolved = TheirConfig.from_dict(json.loads(json.dumps(content))).to_dict()
    assert Idefics2Config.from_json(content).text == Idefics2Config.from_json(resolved).text


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_a_file_of_any_transformers_version_means_what_transformers_takes_it_for(
    path: Path,
    tmp_path: Path,
    theirs_of: Callable[[dict[str, Any]], Any],
    make_case: Callable[..., Any],
    assert_same_logits: Callable[..., None],
) -> None:
    content = json.loads(path.read_text())
    theirs = theirs_of(content)
    theirs.save_pretrained(tmp_path)
    shutil.copyfile(path, tmp_path / "config.json")
    ours = load_model(tmp_path)
    assert_same_logits(ours, theirs, [make_case(ours.config, (3, (20, 36), 4))])


@pytest.mark.parametrize("part", ["vision_config", "perceiver_config", "text_config"])
@pytest.mark.parametrize(
    ("key", "value"), [("add_cross_attention", True), ("pruned_heads", {"0": [1]})]
)
def test_what_an_old_file_says_of_another_network_is_refused(
    part: str, key: str, value: object
) -> None:
    content = json.loads(WRITTEN[0].read_text())
    assert content[part][key] in (False, {})
    content[part][key] = value
    with pytest.raises(ValueError, match=f"{part}: {key} .* is not implemented"):
        Idefics2Config.from_json(content)


@pytest.mark.parametrize("part", ["vision_config", "perceiver_config", "text_config"])
def test_a_key_that_no_transformers_version_wrote_is_refused(part: str) -> None:
    content = json.loads(WRITTEN[0].read_text())
    content[part]["rope_scale"] = 2
    with pytest.raises(ValueError, match=f"{part}: unknown key 'rope_scale'"):
        Idefics2Config.from_json(content)


def test_files_written_by_transformers_are_read(tmp_path: Path) -> None:
    from transformers import Idefics2Config as TheirConfig

    TheirConfig.from_dict(RELEASED).save_pretrained(tmp_path)
    config = Idefics2Config.from_json(tmp_path / "config.json")
    assert config.text == IDEFICS2_8B.text
    assert config.vision == IDEFICS2_8B.vision


def test_transformers_reads_what_we_write(
    tmp_path: Path, small: Callable[..., dict[str, Any]]
) -> None:
    from transformers import Idefics2Config as TheirConfig

    config = Idefics2Config.from_json(small(text={"eos_token_id": [2, 7]}))
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    theirs = TheirConfig.from_pretrained(tmp_path)
    assert Idefics2Config.from_json(theirs.to_dict()) == config


@pytest.mark.parametrize(
    "own",
    [
        {"architecture": "cross_attention", "cross_layer_interval": 2},
        {"connector": "linear"},
        {"connector": "mlp", "tied_embeddings": True},
        {"square_images": True},
    ],
)
def test_variants_survive_a_round_trip_and_transformers_refuses_them(
    own: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import AutoConfig

    config = replace(IDEFICS2_8B, **own)
    content = json.loads(json.dumps(config.to_json()))
    assert Idefics2Config.from_json(content) == config
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="idefics2_variant"):
        AutoConfig.from_pretrained(tmp_path)


def test_a_plain_file_holds_none_of_our_own_keys() -> None:
    written = IDEFICS2_8B.to_json()
    assert written["model_type"] == "idefics2"
    assert set(written) < set(RELEASED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"model_type": "llava"}, "model_type is 'llava'", id="another model"),
        pytest.param({"quantisation": {}}, "unknown key 'quantisation'", id="unknown"),
        pytest.param({"image_tokens_id": 3}, "did you mean image_token_id", id="misspelt"),
        pytest.param(
            {"text": {"num_layers": 3}}, "text_config: unknown key", id="ours, not theirs"
        ),
        pytest.param({"text": {"hidden_act": "gelu"}}, "hidden_act 'gelu' is not", id="activation"),
        pytest.param({"text": {"model_type": "llama"}}, "model_type 'llama' is", id="decoder"),
        pytest.param(
            {"text": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}},
            "rope_parameters .*yarn.* is not implemented",
            id="another rotation",
        ),
        pytest.param(
            {"perceiver": {"qk_layer_norms": True}}, "qk_layer_norms True is not", id="query norms"
        ),
        pytest.param(
            {"perceiver": {"hidden_size": 64}},
            "hidden_size 64 is not text_config's 48",
            id="widths",
        ),
        pytest.param(
            {"text": {"vocab_size": "120"}}, "positive int, not '120'", id="text for number"
        ),
        pytest.param(
            {"text": {"num_hidden_layers": 0}}, "num_layers must be a positive", id="zero"
        ),
        pytest.param({"vision": {"patch_size": [4, 4]}}, r"not \[4, 4\]", id="oblong patches"),
        pytest.param({"text": {"num_key_value_heads": 3}}, "4 is no multiple of 3", id="groups"),
        pytest.param({"text": {"head_dim": 7}}, "7 is no multiple of 2", id="odd head"),
        pytest.param({"text": {"sliding_window": 0}}, "sliding_window must be", id="no window"),
        pytest.param({"vision": {"hidden_size": 25}}, "25 is no multiple of 3", id="vision heads"),
        pytest.param({"vision": {"image_size": 3}}, "image_size 3 is below", id="tiny image"),
        pytest.param(
            {"image_token_id": 120}, "120 is outside the vocabulary of 120", id="image id"
        ),
        pytest.param({"connector": "conv"}, "connector 'conv' is not", id="connector"),
        pytest.param({"tie_word_embeddings": "no"}, "tie_word_embeddings 'no' is", id="flag"),
        pytest.param(
            {"architecture": "cross_attention", "connector": "mlp"},
            "cross_attention needs connector perceiver",
            id="cross-attention to patches",
        ),
    ],
)
def test_what_is_unknown_wrong_or_not_implemented_is_refused_by_name(
    changes: dict[str, Any], message: str, small: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(ValueError, match=message):
        Idefics2Config.from_json(small(**changes))


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot read"), ("{", "cannot read"), ("[]", "no JSON object")]
)
def test_an_unreadable_file_is_named(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=f"(?s){message}.*|{path.name}.*{message}"):
        Idefics2Config.from_json(path)


@pytest.mark.parametrize(
    ("changes", "slots"),
    [({}, 64), ({"connector": "linear"}, 28 * 27), ({"architecture": "cross_attention"}, 1)],
)
def test_a_crops_slots_depend_on_connector_and_architecture(
    changes: dict[str, Any], slots: int
) -> None:
    assert replace(IDEFICS2_8B, **changes).image_slots(28, 27) == slots


def test_python_side_configs_are_checked_too() -> None:
    with pytest.raises(ValueError, match="width must be a positive int, not -1"):
        VisionConfig(width=-1)
    with pytest.raises(ValueError, match="norm_eps must be a positive float"):
        TextConfig(norm_eps=0.0)
