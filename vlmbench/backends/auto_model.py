"""Loading any image-text-to-text checkpoint through transformers' auto classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlmbench.backends.checkpoint import Checkpoint
from vlmbench.backends.settings import LocalSettings

if TYPE_CHECKING:
    import torch

SAMPLING = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
"""Fields of a generation config that mean nothing in greedy decoding, and are warned of there."""

LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time")


def processor(found: Checkpoint, settings: LocalSettings) -> Any:
    """Raises: ValueError if it takes no pictures, or cannot split them as the settings want."""
    from transformers import AutoConfig, AutoProcessor

    _check_kind(AutoConfig.from_pretrained(found.folder, trust_remote_code=False))
    loaded: Any = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
        found.folder, trust_remote_code=False
    )
    if not hasattr(loaded, "image_processor") or not hasattr(loaded, "tokenizer"):
        raise ValueError("its processor takes no pictures: preprocessor_config.json is missing")
    if settings.split_images is not None:
        if not hasattr(loaded.image_processor, "do_image_splitting"):
            raise ValueError("its processor cannot split pictures: leave split_images out")
        loaded.image_processor.do_image_splitting = settings.split_images
    loaded.tokenizer.padding_side = "left"
    if loaded.tokenizer.pad_token is None:
        loaded.tokenizer.pad_token = loaded.tokenizer.eos_token
    return loaded


def _check_kind(config: Any) -> None:
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ValueError(
            f"a {config.model_type} model is none of transformers' image-text-to-text models"
        )
    if config.is_encoder_decoder:
        raise ValueError("an encoder-decoder model, which continues no prompt; none is supported")


def model(found: Checkpoint, dtype: torch.dtype) -> Any:
    """Raises: ValueError for weights that are not whole, which would be drawn at random."""
    from transformers import AutoModelForImageTextToText

    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        found.source,
        revision=found.revision or "main",
        dtype=dtype,
        attn_implementation="sdpa",
        trust_remote_code=False,
        output_loading_info=True,
    )
    network, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"its weights lack {len(missing)} tensors, such as {missing[0]}")
    return network


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
