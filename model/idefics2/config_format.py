"""The keys of a `config.json`, and reading one of its objects into a dataclass.

A field's key is its name, or its `metadata["key"]`; a field without a default is an object by
itself.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from idefics2.files import reason, text_of

Json = dict[str, Any]
Config = TypeVar("Config")

HARMLESS = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_name_or_path",
        "architectures",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "decoder_start_token_id",
        "dtype",
        "eos_token_id",
        "finetuning_task",
        "id2label",
        "initializer_range",
        "is_decoder",
        "is_encoder_decoder",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "prefix",
        "problem_type",
        "return_dict",
        "sep_token_id",
        "task_specific_params",
        "tf_legacy_loss",
        "tie_word_embeddings",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "use_bfloat16",
        "use_cache",
    }
)
"""Keys that transformers writes and that change no number of the forward pass."""

GENERATION = frozenset(
    {
        "bad_words_ids",
        "begin_suppress_tokens",
        "diversity_penalty",
        "do_sample",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "length_penalty",
        "max_length",
        "min_length",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_scores",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict_in_generate",
        "suppress_tokens",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
    }
)
"""Settings of `generate`, which transformers before 4.47 writes into each part of a config."""

IMPLEMENTED: dict[str, Json] = {
    "config": {},
    "vision_config": {
        "num_channels": 3,
        "hidden_act": "gelu_pytorch_tanh",
        "attention_dropout": 0,
    },
    "perceiver_config": {"hidden_act": "silu", "attention_dropout": 0, "qk_layer_norms": False},
    "text_config": {
        "model_type": "mistral",
        "hidden_act": "silu",
        "attention_dropout": 0,
        "rope_scaling": None,
    },
}
"""Keys of which one value is implemented: that of the released models."""

ANYWHERE: Json = {
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "pruned_heads": {},
    "tie_encoder_decoder": False,
    "quantization_config": None,
    "compression_config": None,
}
"""The same for keys that transformers may write into every part."""


def read(path: Path) -> Json:
    """The object in a JSON file.

    Raises: ValueError if the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(text_of(path))
    except RecursionError:
        raise ValueError(f"cannot read {path}: lists or objects nested too deeply") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {reason(path, error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


def version_of(content: Json, default: str) -> tuple[int, int]:
    """Major and minor number of the transformers that wrote a `config.json`."""
    numbers = re.findall(r"\d+", str(content.get("transformers_version") or default))
    major, minor = [*map(int, numbers[:2]), 0, 0][:2]
    return major, minor


def parse(kind: type[Config], content: Json, where: str, **parts: object) -> Config:
    """A config from one JSON object; `parts` are its fields that are objects by themselves.

    Raises: ValueError naming a key that is unknown, or whose value is not implemented.
    """
    names = {key: name for name, key in _names_and_keys(kind).items()}
    implemented = ANYWHERE | IMPLEMENTED[where]
    values: Json = {}
    for key, value in content.items():
        if key in names:
            values[names[key]] = value
        elif key in implemented:
            only = implemented[key]
            if value != only:
                raise ValueError(f"{where}: {key} {value!r} is not implemented, only {only!r}")
        elif key not in HARMLESS | GENERATION:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{where}: unknown key {key!r}{hint}")
    return kind(**values, **parts)


def keys_and_values(config: object) -> Json:
    """A config's JSON object, without the fields that are objects by themselves."""
    names = _names_and_keys(type(config))
    return {key: getattr(config, name) for name, key in names.items()}


def _names_and_keys(kind: type[Any]) -> dict[str, str]:
    return {
        item.name: item.metadata.get("key", item.name)
        for item in fields(kind)
        if item.default is not MISSING
    }
