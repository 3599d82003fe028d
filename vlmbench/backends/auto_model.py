"""Loading any image-text-to-text checkpoint through transformers' auto classes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pickle import PickleError
from typing import TYPE_CHECKING, Any

from vlmbench.backends import weight_files
from vlmbench.backends.checkpoint import Checkpoint
from vlmbench.backends.rendering import takes_parts
from vlmbench.backends.settings import TransformersSettings as Settings
from vlmbench.schema import Json

if TYPE_CHECKING:
    import torch

SAMPLING = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
"""Fields of a generation config that mean nothing in greedy decoding, and are warned of there."""

TOKENIZERS = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt"),
    *("spiece.model", "tekken.json", "sentencepiece.bpe.model"),
)
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files of which a processor has at least one."""

LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time")


def processor(found: Checkpoint, settings: Settings) -> Any:
    """Raises: ValueError if it takes no pictures, or cannot split them as the settings want."""
    from transformers import AutoConfig, AutoProcessor

    trusts = settings.trust_remote_code
    _check_config(found, trusts)
    config = AutoConfig.from_pretrained(found.folder, trust_remote_code=trusts)
    if not (trusts and "auto_map" in found.config):
        _check_kind(config)
        _check_files(found)
    auto: Any = AutoProcessor
    loaded = auto.from_pretrained(found.processor, trust_remote_code=trusts)
    if not hasattr(loaded, "image_processor") or not hasattr(loaded, "tokenizer"):
        raise ValueError("its processor takes no pictures: preprocessor_config.json is missing")
    if settings.split_images is not None:
        if not hasattr(loaded.image_processor, "do_image_splitting"):
            raise ValueError("its processor cannot split pictures: leave split_images out")
        loaded.image_processor.do_image_splitting = settings.split_images
    if settings.processor_arg:
        loaded.image_processor = _changed(loaded.image_processor, settings.processor_arg)
    if not loaded.tokenizer("forty-two").input_ids:
        raise ValueError("its tokenizer has no words: copy the files from its base checkpoint")
    if getattr(loaded, "chat_template", None) is None:
        loaded.chat_template = getattr(loaded.tokenizer, "chat_template", None)
    if loaded.chat_template is not None:
        loaded.takes_text_alone = not takes_parts(loaded)
    loaded.tokenizer.padding_side = "left"
    if loaded.tokenizer.pad_token is None:
        loaded.tokenizer.pad_token = loaded.tokenizer.eos_token
    return loaded


def _changed(image_processor: Any, given: Mapping[str, Json]) -> Any:
    """The image processor made anew with what `size.longest_edge` or `max_pixels` names.

    Raises: ValueError for what it does not have, or has as another kind of value, and for what
    would change nothing.
    """
    before = image_processor.to_dict()
    known = {
        *before,
        *getattr(getattr(image_processor, "valid_kwargs", None), "__annotations__", ()),
    }
    content = copy.deepcopy(before)  # which the processor may change
    for name, value in given.items():
        first, _, rest = name.partition(".")
        if first not in known and not hasattr(image_processor, first):
            raise ValueError(
                f"its image processor has no {first}; it has {', '.join(sorted(before))}"
            )
        old = content.get(first)
        if isinstance(old, Mapping) != bool(rest):
            part = f": write {first}.{next(iter(old))}" if isinstance(old, Mapping) and old else ""
            raise ValueError(f"{first} of its image processor is {old}{part}")
        if rest:
            if rest not in old:
                raise ValueError(f"{first} of its image processor has {', '.join(old)}, not {rest}")
            content[first], old = {**old, rest: value}, old[rest]
        else:
            content[first] = value
        if not _is_of_kind(value, old):
            raise ValueError(f"{name} of its image processor is {old!r}, and cannot be {value!r}")
    changed = type(image_processor).from_dict(content)
    if content != before and changed.to_dict() == before:
        raise ValueError(f"its image processor makes nothing of {', '.join(given)}")
    return changed


def _is_of_kind(value: Json, old: object) -> bool:
    """True if a value may stand for an old one; bool is no number."""
    if old is None or isinstance(old, bool) or isinstance(value, bool):
        return old is None or (isinstance(old, bool) and isinstance(value, bool))
    return isinstance(value, int | float if isinstance(old, int | float) else type(old))


def _check_files(found: Checkpoint) -> None:
    """Raises: ValueError if the folder has no tokenizer or no settings for pictures."""
    names = {path.name for path in found.processor.iterdir()}
    missing = [kinds[0] for kinds in (TOKENIZERS, PROCESSORS) if names.isdisjoint(kinds)]
    if missing:
        raise ValueError(
            f"{found.processor} has no {' and no '.join(missing)}: give --processor a folder or "
            "hub id that has them, such as its base model's"
        )


def _check_config(found: Checkpoint, trusts: bool) -> None:
    """Raises: ValueError for what transformers would not say in a line."""
    import torch
    from transformers import CONFIG_MAPPING

    kind, own = found.config.get("model_type"), "auto_map" in found.config
    if own and not trusts and kind not in CONFIG_MAPPING:
        raise ValueError(
            f"a {kind} model brings its own Python files: give --trust-remote-code if you trust "
            "them, or serve the model and use openai:URL#MODEL"
        )
    for name in ("dtype", "torch_dtype"):
        value = found.config.get(name)
        if isinstance(value, str) and not isinstance(getattr(torch, value, None), torch.dtype):
            raise ValueError(
                f"config.json has {name} {value!r}, which is no dtype: write bfloat16, float16 or "
                "float32 there"
            )


def _check_weights(found: Checkpoint) -> None:
    """Raises: ValueError for quantised weights whose config does not say so.

    They would be taken for plain ones, and the model's answers be noise.
    """
    text = found.config.get("text_config")
    configs = (found.config, text if isinstance(text, dict) else {})
    if found.revision or any("quantization_config" in config for config in configs):
        return  # of a hub's checkpoint the weights are not here yet
    if how := weight_files.quantisation(found.folder):
        raise ValueError(
            f"its weights are quantised ({how}), but config.json has no quantization_config: put "
            "back the one that they came with"
        )


def _check_kind(config: Any) -> None:
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ValueError(
            f"a {config.model_type} model is none of transformers' image-text-to-text models"
        )
    if config.is_encoder_decoder:
        raise ValueError("an encoder-decoder model, which continues no prompt; none is supported")


def model(found: Checkpoint, dtype: torch.dtype, settings: Settings) -> Any:
    """Raises: ValueError for weights that are not whole, which would be drawn at random."""
    import transformers

    _check_weights(found)
    own = found.config.get("auto_map", {}) if settings.trust_remote_code else {}
    names = ("AutoModelForImageTextToText", "AutoModelForCausalLM", "AutoModel")
    auto = getattr(transformers, next((name for name in names if name in own), names[0]))
    spread = {} if settings.device_map is None else {"device_map": settings.device_map}
    try:
        network, info = auto.from_pretrained(
            found.source,
            revision=found.revision or "main",
            dtype=dtype,
            attn_implementation="sdpa",
            trust_remote_code=settings.trust_remote_code,
            output_loading_info=True,
            **spread,
        )
    except PickleError as error:
        raise ValueError(
            "its weights are a pickle with more than tensors in it, which is not loaded, as that "
            "may run code: convert them to safetensors"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"its weights lack {len(missing)} tensors, such as {missing[0]}")
    return network if found.adapter is None else _adapted(network, found)


def _adapted(network: Any, found: Checkpoint) -> Any:
    """The model with its adapter merged; one beside the weights is attached by transformers."""
    from peft import PeftModel

    if found.adapter == found.folder:
        return network
    adapted = PeftModel.from_pretrained(network, str(found.adapter))
    if not hasattr(adapted, "merge_and_unload") or adapted.active_peft_config.is_prompt_learning:
        kind = adapted.active_peft_config.peft_type.value
        raise ValueError(f"its adapter of type {kind} cannot be merged")
    return adapted.merge_and_unload()


def image_token_id(network: Any, processor: Any) -> int | None:
    """The token that stands for a part of a picture; None: the checkpoint does not say."""
    names = ("image_token_id", "image_token_index")
    ids = [getattr(holder, name, None) for holder in (network.config, processor) for name in names]
    return next((id for id in ids if id is not None), None)


def generation_configs(network: Any, tokenizer: Any) -> tuple[Any, Any]:
    """The checkpoint's own config, for greedy decoding, and one that only knows how to stop.

    The model's is made empty, as `generate` takes from it whatever is not set.
    """
    from transformers import GenerationConfig

    config: Any = GenerationConfig
    own = network.generation_config
    network.generation_config = config()
    stop_ids = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    stop = {
        "eos_token_id": stop_ids if isinstance(stop_ids, list) else [stop_ids],
        "pad_token_id": tokenizer.pad_token_id,
    }
    own.update(**dict.fromkeys(SAMPLING), **dict.fromkeys(LENGTHS))
    own.update(do_sample=False, num_beams=1, use_cache=True, return_dict_in_generate=False, **stop)
    return own, config(do_sample=False, **stop)
